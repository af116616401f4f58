"""One storage as the server serves it.

Enters: commits of its clients, and changes that the storage reports as made by others. Leaves:
invalidations to every client but the one that committed. Fails: ConfigurationError for what is not
a storage. All in the loop's thread.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.net.loop import ENDS, Loop
from ZEO.serving import filestorage
from ZEO.serving.backends import backend_for
from ZEO.serving.clients import Clients
from ZEO.serving.commit import Commit
from ZEO.serving.commit.deadlines import Deadlines
from ZEO.serving.commit.lock import CommitLock
from ZEO.serving.contention import Contention
from ZEO.serving.database import Database
from ZEO.serving.fence import Fence
from ZEO.serving.followers import Followers
from ZEO.serving.index_saving import IndexSaver
from ZEO.serving.info import info, role
from ZEO.serving.invalidations import Invalidations
from ZEO.serving.many import Freeing
from ZEO.serving.moments import lasted
from ZEO.serving.oids import GivenOut
from ZEO.serving.options import ServingOptions
from ZEO.serving.packing import Packs
from ZEO.serving.promotion import Promotion
from ZEO.serving.read_ahead.shared import SharedAhead
from ZEO.serving.roles import RoleWatch
from ZEO.serving.sizes import Sizes
from ZEO.serving.slow import SlowLog
from ZEO.serving.stats import Stats
from ZEO.serving.status import figures
from ZEO.serving.workers import Workers
from ZEO.wire.big_invalidation import BigInvalidation

log = logging.getLogger('ZEO.StorageServer')

#: Seconds until it is looked again at transactions that threads are at work for.
LOOK_AGAIN = 0.1

#: What a storage must have to be served.
NEEDED = """loadBefore lastTransaction tpc_begin store tpc_vote tpc_finish tpc_abort new_oid
    getName""".split()


class HostedStorage:
    """`storage`, served under `name`.

    :param workers: threads that the storages of a server share.
    :raises ConfigurationError: when `storage` is not one.
    """

    def __init__(
        self, name: str, storage: Any, loop: Loop, workers: Workers, options: ServingOptions
    ) -> None:
        _look_at(name, storage)
        limits = options.limits
        self.name = name
        self.kind = type(storage).__name__
        self.loop = loop
        self.limits = limits
        self.read_only = options.read_only or bool(storage.isReadOnly())
        self.transaction_timeout = options.transaction_timeout
        self.client_resolves = options.policy.client_only
        self.files = filestorage.Files(name, storage, loop)
        self.files.settle(self.read_only)  # before the storage is asked anything
        self.oids = GivenOut(filestorage.storages_within(storage))
        self.backend = backend_for(name, storage, loop, workers, options, self._reconnected)
        self.storage = self.backend.storage
        seen = self.backend.seen
        self.seen = self.storage if seen is None else seen  # as clients may see it
        self._add_parts(options)
        options.policy.apply_to(storage)
        self._follow(options)
        RoleWatch(self)
        self._indexes = IndexSaver(filestorage.file_storages(storage), loop, self.backend)

    def _add_parts(self, options: ServingOptions) -> None:
        """Make the parts that serve clients."""
        name, loop = self.name, self.loop
        self.lock = CommitLock(loop.soon, Contention(self).one_more, self.backend.parallel)
        self.deadlines = Deadlines(loop, self.lock)
        self.freeing = Freeing(loop.from_thread, loop.next_turn)
        self.stats = Stats(loop.system.wall_clock(), loop.system.now())
        self.slow = SlowLog(name, options.slow, loop.system.wall_clock)
        self.packs = Packs(self)
        self.read_ahead = SharedAhead(
            options.read_ahead, self.backend.reads_ahead, self.backend.is_on_network
        )
        self.promotion = Promotion(self, options.read_only)
        self.peers = Clients(name, loop)
        self.followers = Followers(name, loop)
        self.backend.attach(self.followers, self.peers)
        self.fence = Fence(self, options.replicas.fence)
        if options.replicas.wait_for and self.backend.replication() is None:
            log.warning(
                'storage %s: commits do not wait for followers, since it is not a FileStorage '
                '(wait-for-replicas)',
                name,
            )
        self.sizes = Sizes(name, self.storage, self.peers, loop)

    def _follow(self, options: ServingOptions) -> None:
        """Begin to hear what others commit, and list the last transactions."""
        loop = self.loop
        database = Database(loop, self._heard, self._lost_track)
        self.references = database.references
        # before the last transactions are listed, which takes time on a network: what others
        # commit meanwhile is heard or listed, and twice does no harm
        self.backend.follow(database, self._heard, self._lost_track)
        self.invalidations = Invalidations(
            self.storage,
            options.queue_size,
            options.queue_age,
            loop.system.wall_clock,
            self.limits.invalidation_oids,
            self.backend.recent_changes,
        )

    def info(self, client: Any) -> dict[str, Any]:
        """Return what get_info answers a client."""
        return info(self, client)

    def status(self) -> dict[str, Any]:
        """Return the figures that a monitoring program gets."""
        return figures(self)

    def last_transaction(self) -> bytes:
        """Return the last transaction: what clients were sent belongs to it, too.

        A storage that is a client itself reports a change before it says that it has it. To a
        client that comes in between, the change must not seem to be in the future: it would not
        ask for it, and is not sent it any more.
        """
        last = self.seen.lastTransaction()
        newest = self.invalidations.newest
        return newest if last is not None and newest > last else last

    def committed(
        self,
        committer: Any,
        tid: bytes,
        oids: list[bytes],
        announced: BigInvalidation | None = None,
    ) -> None:
        """Note a transaction, which is permanent, and send the invalidation to every client but
        `committer`; nothing is raised.

        :param announced: that invalidation, where it has been encoded before.
        """
        self._note(tid, oids)
        others = len(self.peers) - (committer in self.peers)
        self.stats.invalidations += others
        if not others:
            return
        if announced is None:
            self.peers.send(committer, 'invalidateTransaction', tid, oids)
        else:
            self._send_big((committer,), tid, announced)

    def acknowledged(
        self,
        committer: Any,
        tid: bytes,
        oids: list[bytes],
        announced: BigInvalidation | None = None,
    ) -> None:
        """The same for a transaction that followers have: they were sent the invalidation
        before.
        """
        self._note(tid, oids)
        self.stats.invalidations += len(self.peers) - (committer in self.peers)
        if announced is not None:
            self._send_big((committer, *self.followers), tid, announced)
            return
        self.peers.send_but_followers(committer, self.followers, 'invalidateTransaction', tid, oids)

    def not_told(self, committer: Any, tid: bytes, error: BaseException) -> None:
        """A transaction is permanent, and it is not known which clients were told: all but the
        one that has committed it have to check their caches.
        """
        attempt = self.loop.attempt  # each of these, whatever the others raise
        attempt(self.invalidations.clear)
        attempt(partial(self.backend.forget_records, tid))
        self.peers.close_all('clients could not be told of a transaction', committer)
        self.loop.reports.failed('clients could not be sent what changed', self.name, error)

    def _send_big(self, but: tuple[Any, ...], tid: bytes, announced: BigInvalidation) -> None:
        self.peers.send_big([peer for peer in self.peers if peer not in but], tid, announced)

    def become_writable(self) -> None:
        """Take writes from now on."""
        self.read_only = False
        self.tell_role()

    def tell_role(self) -> None:
        """Send all clients which part this server has, since that has changed: for one, whether a
        follower has its primary at hand.
        """
        self.peers.send(None, 'info', role(self))

    def _note(self, tid: bytes, oids: list[bytes]) -> None:
        try:
            self.invalidations.add(tid, oids)
            self.backend.changed(tid, oids)
        except ENDS:
            raise
        except BaseException as error:  # what is not noted must not be taken for complete
            self.loop.reports.failed('a transaction was not noted', self.name, error)
            self.backend.forget_records(tid)
            self.invalidations.clear()

    def _heard(self, tid: bytes, oids: list[bytes]) -> None:
        """The storage reports a transaction of others."""
        if self.backend.is_catching_up:
            # it may be several, each older than that: clients have to ask
            self._note(tid, oids)
            self._reconnected()
        else:
            self.committed(None, tid, oids)
            self.stats.heard(tid, self.loop.system.wall_clock())

    def _reconnected(self) -> None:
        self.peers.close_all('the storage has another connection to its own server')

    def start_afresh(self) -> None:
        """The server had no memory for a task, so that it is not known who waits for what, and what
        was told: have all clients begin again.
        """
        self.loop.attempt(self.backend.start_afresh)
        self._lost_track()

    def take_back(self) -> None:
        """After that, take back the commit lock from those whose end was lost."""
        self.packs.start_afresh()
        self.lock.forget_waiting()
        self._take_back()

    def _take_back(self) -> None:
        """Give up transactions whose clients are gone, unless a thread is at work for them, so that
        something is still to come.
        """
        left = [
            holder
            for holder in self.lock.holders
            if isinstance(holder, Commit) and holder.peer not in self.peers
        ]
        if not self.peers:
            self.stats.active_txns = sum(commit.is_counted for commit in left)
        for commit in left:
            if not self.backend.is_at_work(commit):
                commit.give_up()
                self._lost_track()  # of what it may have made permanent
        if left:
            self.loop.later(LOOK_AGAIN, self._take_back)

    def _lost_track(self) -> None:
        """The storage can't say what changed: every client has to check its whole cache."""
        self.invalidations.clear()
        self.backend.forget_records()
        self.peers.close_all('the storage has lost track of its changes')

    def close(self) -> None:
        """Close the storage."""
        began = self.loop.system.now()
        self._indexes.close()
        self.backend.close()
        log.info('storage %s is closed after %s', self.name, lasted(self.loop.system.now() - began))


def _look_at(name: str, storage: Any) -> None:
    missing = [method for method in NEEDED if not hasattr(storage, method)]
    if missing:
        raise ConfigurationError(
            f'the storage {name!r} is a {type(storage).__name__}, which is not a ZODB storage: '
            f'it has no {missing[0]}'
        )
