"""The thread of a replica that copies what its primary commits.

Enters: the options for reaching the primary. Leaves: groups of transactions in the replica's file,
each finished as the replica says; what a status shows. Fails: never; what goes wrong is reported in
the log and in the status, and tried again.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Any

from ZODB.POSException import POSKeyError, StorageError, Unsupported
from ZODB.utils import p64, u64, z64

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.system import System
from ZEO.replica.choosing import Upstreams
from ZEO.replica.errors import NotFollowed
from ZEO.replica.group import Group
from ZEO.replica.history import check
from ZEO.replica.primary import LONGEST_CHAIN, Part, Primary
from ZEO.replica.progress import Progress
from ZEO.wire.guarded import is_blob

log = logging.getLogger('ZEO.replica')

#: Bytes and transactions that are synced together at most, while there are more to come.
_GROUP_BYTES = 16 << 20
_GROUP_TRANSACTIONS = 2000

#: Seconds after which the primary is asked although it has not reported anything: a report may have
#: been lost by a server in between.
_ASK_EVERY = 10.0

#: Seconds until servers are looked at again when none can be followed.
_MOMENT = 0.05

#: Seconds until the next attempt after one that has failed, and at most.
_PAUSE, _LONGEST_PAUSE = 0.2, 15.0

#: Seconds that ending may take: the disk may be slow, and a group is written to its end.
_ENDING = 60.0


class Following:
    """Copies from the primary until it is stopped.

    :param storage: the :class:`~ZEO.replica.storage.Replica`.
    :param addr: addresses of the primary.
    :param options: for a client storage of it.
    :param label: what this follower is called there.
    :param discard_lost: whether transactions may be cut off that the primary does not have.
    """

    def __init__(
        self,
        storage: Any,
        addr: Any,
        options: dict[str, Any],
        label: str,
        discard_lost: bool,
        system: System,
    ) -> None:
        self._storage = storage
        self._addr, self._options, self._label = addr, options, label
        self._discard_lost = discard_lost
        self._system = system
        self._ending = system.event()
        self._closing = False
        self._id = os.urandom(8).hex()
        self._upstreams: Upstreams | None = None
        self._primary: Primary | None = None  # while it is followed
        self._has_had_all = False  # since the last attempt began
        self._thread: Any = None
        self.progress = Progress(storage, system)

    def start(self) -> None:
        """Begin to copy, in a thread."""
        self._ending.clear()
        self._thread = self._system.spawn(f'ZEO replica {self._storage.getName()}', self._run)

    def stop(self, closing: bool = False) -> None:
        """Return when nothing is copied any more.

        :param closing: whether the storage is closed, so that what is on the disk need not be
            shown.
        :raises StorageError: when that takes too long.
        """
        self._closing = closing
        self._ending.set()
        upstreams, thread = self._upstreams, self._thread
        if upstreams is not None:
            upstreams.close()
        if thread is not None:
            thread.join(_ENDING)
            if thread.is_alive():
                raise StorageError(
                    f'the replica {self._storage.getName()} is still writing after {_ENDING:g} s: '
                    'is its disk slow? Try again'
                )
        self._thread = None

    @property
    def stopping(self) -> bool:
        """Whether the thread is to end."""
        return self._ending.is_set()

    def status(self) -> dict[str, Any]:
        """Return what the status of the replica says about this."""
        return {**self.progress.report(self._primary), 'chain': self._chain()}

    def _chain(self) -> list[str]:
        """Return the ids of this follower and of those between it and its primary."""
        primary = self._primary
        beyond = () if primary is None else primary.chain()
        return [self._id, *beyond][:LONGEST_CHAIN]

    # The thread.

    def _run(self) -> None:
        pause = _PAUSE
        while not self.stopping:
            before = self._storage.lastTransaction()
            self._has_had_all = False
            try:
                self._connect_and_copy()
            except Exception as error:  # the thread's boundary: it is reported and tried again
                if not self.stopping:
                    self.progress.failed(error)
            if self._has_had_all or self._storage.lastTransaction() != before:
                pause = _PAUSE
            if not self._ending.wait(pause):
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _connect_and_copy(self) -> None:
        upstreams = Upstreams(self._addr, self._options, self._id, self._system)
        try:
            self._upstreams = upstreams
            primary = self._choose(upstreams)
            if primary is None:
                return
            self._primary = primary
            self.progress.connected(primary)
            primary.replicated(min(self._storage.lastTransaction(), primary.last()))
            while not self.stopping:
                primary.heard.forget_news()
                self._copy(primary)
                if self.stopping:
                    return
                if primary.is_whole():
                    self._storage.note_whole()
                self.progress.has_all()
                self._has_had_all = True
                primary.wait_for_news(upstreams.look_every(_ASK_EVERY))
                upstreams.look(primary)
        finally:
            self._upstreams = self._primary = None
            upstreams.close()

    def _choose(self, upstreams: Upstreams) -> Primary | None:
        """Return the server to follow: None when following is to end before."""
        while not self.stopping:
            try:
                ready = upstreams.ready(self._storage.lastTransaction())
            except ClientDisconnected as error:
                if not self.stopping:
                    self.progress.failed(error)
                    self._ending.wait(_MOMENT)
            else:
                primary = self._first_with_our_history(upstreams, ready)
                upstreams.follows(primary)
                return primary
        return None

    def _first_with_our_history(self, upstreams: Upstreams, ready: list[Primary]) -> Primary:
        """Return the first one whose history is ours.

        :raises NotFollowed: when there is none.
        """
        if not upstreams.is_choice:
            return self._checked(ready[0], self._discard_lost)
        refusals = []
        for primary in ready:
            try:
                self._checked(primary, False)
            except NotFollowed as error:
                refusals.append(error)
                upstreams.passed_over(primary)
            else:
                for refusal in refusals:
                    log.warning('%s: passes over %s', self._storage.getName(), refusal)
                return primary
        # nothing is given up for what a follower lacks, which may get it yet
        if self._discard_lost and not ready[0].is_replica():
            return self._checked(ready[0], True)
        raise refusals[0]

    def _checked(self, primary: Primary, discard_lost: bool) -> Primary:
        # first: it sees then what other clients do not see yet, since that waits for followers
        primary.follow(self._label)
        check(self._storage, primary, discard_lost)
        self._storage.lost_transactions = []
        return primary

    def show(self, group: Group) -> None:
        """Have the storage show a group that is on the disk; try until it does, or is closed."""
        try:
            while not self._closing:
                try:
                    self._storage.run_finish(partial(self._storage.apply_group, group))
                    return
                except Exception as error:  # a lack of memory, say; a group later is of no use
                    if not self._closing:
                        self.progress.failed(error)
                        self._system.sleep(_PAUSE)
        finally:
            self._storage.end_group()

    def _copy(self, primary: Primary) -> None:
        """Copy all that there is behind the last transaction."""
        last = self._storage.lastTransaction()
        copying = _Copying(self, self._storage, primary)
        try:
            for part in primary.parts(None if last == z64 else p64(u64(last) + 1)):
                if self.stopping:
                    return
                if part is None:
                    copying.finish()
                else:
                    copying.take(part)
            copying.finish()
        finally:
            copying.give_up()


class _Copying:
    """What is being copied at one time: a group, if there is one."""

    def __init__(self, following: Following, storage: Any, primary: Primary) -> None:
        self._following = following
        self._storage = storage
        self._primary = primary
        self._group: Group | None = None
        self._tid: bytes | None = None  # of a transaction that is not complete

    def take(self, part: Part) -> None:
        """Write a part of a transaction."""
        described, records, complete = part
        group = self._group
        if group is None:
            group = self._group = self._storage.begin_group(self._following)
        if described[0] != self._tid:
            group.begin(*described)
            self._tid = described[0]
        for oid, tid, data, source in records:
            group.add(oid, tid, data, source)
            if data is not None and b'ZODB.blob' in data and is_blob(data):
                self._take_blob(oid, tid)
        if complete:
            group.finish()
            self._tid = None
            if group.size >= _GROUP_BYTES or len(group.changes) >= _GROUP_TRANSACTIONS:
                self.finish()

    def _take_blob(self, oid: bytes, tid: bytes) -> None:
        if not self._storage.blob_dir:
            raise NotFollowed(
                f'transaction {tid.hex()} has a blob, and this replica has no blob directory: open '
                'it with blob_dir (in a section: blob-dir)'
            )
        try:
            path = self._primary.blob(oid, tid)
        except (POSKeyError, Unsupported):
            # a pack at the primary has removed it, or it is damaged there
            self._following.progress.no_blob(oid, tid)
            return
        self._following.progress.copied_bytes += self._storage.take_blob(oid, tid, path)

    def finish(self) -> None:
        """Finish the group, unless a transaction in it is not complete."""
        group = self._group
        if group is None or self._tid is not None:
            return
        group.sync()
        self._group = None  # it is permanent, and must not be removed any more
        try:
            self._primary.replicated(group.last)
        except ClientDisconnected:  # it is told after the next connection
            pass
        self._following.show(group)
        records = sum(len(oids) for _, oids in group.changes)
        self._following.progress.copied(group.size, len(group.changes), records)

    def give_up(self) -> None:
        """Remove what is written of a group, if there is one."""
        group, self._group = self._group, None
        if group is not None:
            self._storage.undo_group(group)
