"""Pack one storage, in a thread.

Enters: the client that wants a pack, and up to which time. Leaves: the answer to the call, and a
message with the storage's new size to all its clients. Fails: with what the storage raises, as it
does for a second pack at a time; StorageError where no thread can be started.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ZEO.serving.later import Later
from ZEO.serving.moments import iso, lasted, size
from ZEO.wire.extensions import PACKED
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

    def start(self, client: Client, time: float) -> Later:
        """Pack to `time`, in seconds since the epoch; it goes on when the client that asked for it
        is gone.
        """
        hosted = self._hosted
        packed = hosted.backend.compute(lambda: hosted.storage.pack(time, hosted.references))
        # only now: if no thread could be started, no pack runs
        self._running += 1
        hosted.backend.is_packing = True
        hosted.stats.pack_since = hosted.stats.pack_since or hosted.loop.system.wall_clock()
        pack = _Pack(hosted, client, time)

        def done(_: object) -> None:
            self._ended()
            pack.done()

        def failed(error: BaseException) -> None:
            self._ended()
            pack.failed(error)

        packed.then(done, failed)
        return pack.answer

    def _ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._hosted.stats.pack_since = None
            self._hosted.backend.is_packing = False
        self._hosted.backend.forget_records()


class _Pack:
    """One pack: its lines in the log, and its answer."""

    def __init__(self, hosted: HostedStorage, client: Client, time: float) -> None:
        self.answer = Later()
        self._hosted = hosted
        self._client = client
        self._began = hosted.loop.system.now()
        self._size = self._look()
        client.report(
            logging.INFO,
            'packs',
            'pack of storage %s to %s begins, its size is %s',
            hosted.name,
            iso(time),
            size(self._size),
        )

    def done(self) -> None:
        """Log that it has ended, send all clients the new size, and answer."""
        hosted = self._hosted
        self._client.report(
            logging.INFO,
            'packs',
            'pack of storage %s ended after %s, its size went from %s to %s',
            hosted.name,
            lasted(hosted.loop.system.now() - self._began),
            size(self._size),
            size(self._look()),
        )
        hosted.peers.send(None, 'info', {**hosted.sizes.now(), PACKED: True})
        self.answer.answer(None)

    def failed(self, error: BaseException) -> None:
        """Log why it has failed, and answer so."""
        self._client.report(
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
