"""Pack one storage, in a thread.

Enters: the client that wants a pack, and up to which time. Leaves: the answer to the call, and a
message with the storage's new size to all its clients. Fails: with what the storage raises, as it
does for a second pack at a time; StorageError where no thread can be started.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ZODB.POSException import StorageError

from ZEO.serving.later import Later
from ZEO.serving.moments import iso, lasted, size
from ZEO.wire.extensions import PACKED
from ZEO.wire.opcodes import Unreadable
from ZEO.wire.quoting import explained

if TYPE_CHECKING:
    from ZEO.serving.answers import Client
    from ZEO.serving.hosted import HostedStorage


class Packs:
    """The packs of `hosted` that run now. A storage refuses a second one itself, which does not end
    the first.
    """

    def __init__(self, hosted: HostedStorage) -> None:
        self._hosted = hosted
        self._running = 0
        self._waits = False  # one, for the commit lock

    def start(self, client: Client, time: float) -> Later:
        """Pack to `time`, in seconds since the epoch; it goes on when the client that asked for it
        is gone.
        """
        pack = _Pack(self._hosted, client, time)
        if self._waits:  # each would take memory until the lock is free
            raise StorageError('Already packing: another pack is about to begin')
        if self._hosted.backend.packs_between_commits:
            self._waits = True
            self._hosted.lock.acquire(pack, partial(self._begin_and_release, pack))
        else:
            self._begin(pack)
        return pack.answer

    def start_afresh(self) -> None:
        """A task was lost for want of memory, and nothing waits for the lock any more."""
        self._waits = False
        holder = self._hosted.lock.holder
        if isinstance(holder, _Pack):
            self._hosted.lock.release(holder)

    def _begin_and_release(self, pack: _Pack) -> None:
        """Begin a pack that has the commit lock: other transactions go on meanwhile."""
        self._waits = False
        try:
            self._begin(pack)
        except Exception as error:  # no thread, or no memory: it is this call's answer
            pack.failed(error)
        finally:
            self._hosted.lock.release(pack)

    def _begin(self, pack: _Pack) -> None:
        hosted = self._hosted
        packed = hosted.backend.compute(lambda: hosted.seen.pack(pack.time, hosted.references))
        # only now: if no thread could be started, no pack runs
        self._running += 1
        hosted.backend.is_packing = True
        hosted.stats.pack_since = hosted.stats.pack_since or hosted.loop.system.wall_clock()
        pack.begins()

        def done(_: object) -> None:
            self._ended()
            pack.done()

        def failed(error: BaseException) -> None:
            self._ended()
            pack.failed(error)

        packed.then(done, failed)

    def _ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._hosted.stats.pack_since = None
            self._hosted.stats.packed_at = self._hosted.loop.system.wall_clock()
            self._hosted.backend.is_packing = False
        self._hosted.backend.forget_records()


class _Pack:
    """One pack: its lines in the log, and its answer.

    :param time: to pack to, in seconds since the epoch.
    """

    def __init__(self, hosted: HostedStorage, client: Client, time: float) -> None:
        self.answer = Later()
        self.time = time
        self._hosted = hosted
        self.peer = client  # who asked for it, as with a transaction that has the lock
        self._began = 0.0
        self._size: Any = None

    def begins(self) -> None:
        """Log that it begins."""
        self._began = self._hosted.loop.system.now()
        self._size = self._look()
        self.peer.report(
            logging.INFO,
            'packs',
            'pack of storage %s to %s begins, its size is %s',
            self._hosted.name,
            iso(self.time),
            size(self._size),
        )

    def done(self) -> None:
        """Log that it has ended, send all clients the new size, and answer."""
        hosted = self._hosted
        took = hosted.loop.system.now() - self._began
        hosted.slow.pack(self.peer, took)
        self.peer.report(
            logging.INFO,
            'packs',
            'pack of storage %s ended after %s, its size went from %s to %s',
            hosted.name,
            lasted(took),
            size(self._size),
            size(self._look()),
        )
        hosted.peers.send(None, 'info', {**hosted.sizes.now(), PACKED: True})
        self.answer.answer(None)

    def failed(self, error: BaseException) -> None:
        """Log why it has failed, and answer so."""
        if isinstance(error, Unreadable):
            error = StorageError(
                f"nothing was packed: a record is not in ZODB's format ({error}): where clients "
                'compress or encrypt records, the server needs the other half of that around its '
                'storage, such as <serverzlibstorage>'
            )
        self.peer.report(
            logging.ERROR,
            'failed packs',
            'pack of %s failed: %s',
            self._hosted.name,
            explained(error),
        )
        self.answer.fail(error)

    def _look(self) -> Any:
        """The storage's size for the log; None where it is not known at once."""
        try:
            return self._hosted.backend.size()
        except Exception:  # a storage that fails here says so where it matters
            return None
