"""A FileStorage whose commits are answered when followers have them on disk as well.

Enters: as :class:`~ZEO.serving.backends.base.Backend`; what followers acknowledge. Leaves: the
answers to commits, in the order of the tids; until then no client but a follower sees what they
have changed. Fails: as its kind does; when too few followers acknowledge in time, as
``replica-timeout-action`` says.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from persistent.TimeStamp import TimeStamp
from transaction.interfaces import TransientError
from ZODB.utils import z64

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import ENDS, Loop
from ZEO.serving.backends.base import Committing
from ZEO.serving.backends.hiding import HidingBackend
from ZEO.serving.backends.replica import WrappedReplicaBackend
from ZEO.serving.backends.unacknowledged import Unacknowledged
from ZEO.serving.later import Later
from ZEO.serving.moments import lasted
from ZEO.serving.options import ServingOptions
from ZEO.serving.together import Together
from ZEO.serving.workers import Workers

if TYPE_CHECKING:
    from ZEO.serving.clients import Clients
    from ZEO.serving.followers import Followers

log = logging.getLogger('ZEO.StorageServer')

#: Seconds that followers may be behind for commits to wait for them again: less than a commit may
#: wait, so that the next one is answered in time.
CLOSE = 1.0


class AwaitingBackend(HidingBackend):
    """A FileStorage with followers that are waited for.

    :param options: of all storages of the server.
    """

    def __init__(
        self, name: str, storage: Any, loop: Loop, workers: Workers, options: ServingOptions
    ) -> None:
        super().__init__(name, storage, loop, workers, options)
        self._rules = options.replicas
        self._timer: Any = None  # of the transaction that waits longest
        self._missing_since: float | None = None  # when too few followers have answered in time

    def attach(self, followers: Followers, clients: Clients) -> None:
        super().attach(followers, clients)
        followers.watchers.append(self._acknowledged)

    def replication(self) -> dict[str, Any]:
        missing = self._missing_since
        return {
            'needed': self._rules.wait_for,
            'waiting': len(self._waiting),
            'timeout-action': 'refuse' if self._rules.refuse else 'warn',
            'missing-for': None if missing is None else round(self._loop.system.now() - missing, 1),
        }

    # Committing.

    def prepare(self, commit: Committing) -> None:
        if self._missing_since is not None and self._rules.refuse:
            commit.phase.failed(
                commit,
                TransientError(
                    f'the storage {self._name!r} takes no commits now: {self._situation()}; '
                    'try again later (wait-for-replicas)'
                ),
            )
        else:
            super().prepare(commit)

    def _situation(self) -> str:
        connected = sum(follower.counts for follower in self._followers.values())
        return (
            f'{connected} of the {self._rules.wait_for} followers that have to acknowledge a '
            'commit are connected'
            + ('' if connected < self._rules.wait_for else ', and do not acknowledge in time')
        )

    def finish(self, commit: Committing) -> bytes | Later:
        if self._missing_since is not None and not self._rules.refuse:
            return super().finish(commit)
        try:
            tid = self._finish(commit.transaction)
        except BaseException as error:
            commit.phase.failed(commit, error)
            raise
        try:
            entry = self._hold(commit, tid, is_synced=True)
            self._to_followers([entry])
        except ENDS:
            raise
        except BaseException as error:
            return self._not_hidden(commit, tid, error)
        return entry.answer

    def _to_followers(self, entries: list[Unacknowledged]) -> None:
        """These are on disk here; have followers fetch them."""
        until = self._loop.system.now() + self._rules.timeout
        together = Together(self._clients, self._followers)
        for entry in entries:
            entry.until = until
            # they fetch it before other clients see it
            if entry.commit.announced is None:
                together.add(None, 'invalidateTransaction', entry.tid, entry.oids)
            else:
                together.send()
                self._clients.send_big(self._followers, entry.tid, entry.commit.announced)
            self._loop.attempt(partial(entry.commit.phase.permanent, entry.commit))
        together.send()
        self._watch()

    def _is_seen_soon(self) -> bool:
        return self._missing_since is None

    # What becomes of transactions that wait.

    def _acknowledged(self) -> None:
        """What followers have has changed."""
        have = self._followers.have(self._rules.wait_for)
        self._show(have)
        if self._missing_since is not None and self._is_close(have):
            log.warning(
                'storage %s has its followers again, after %s: commits wait for %d of them',
                self._name,
                lasted(self._loop.system.now() - self._missing_since),
                self._rules.wait_for,
            )
            self._missing_since = None

    def _is_close(self, have: bytes) -> bool:
        last = self._waiting.last
        if have >= last:
            return True
        return have > z64 and TimeStamp(last).timeTime() - TimeStamp(have).timeTime() < CLOSE

    def _watch(self) -> None:
        """Look again when the first one has waited for too long."""
        first = self._waiting.unanswered()[:1]
        if first and self._timer is None:
            wait = max(0.0, first[0].until - self._loop.system.now())
            self._timer = self._loop.later(wait, self._look)

    def _look(self) -> None:
        """The first of those that waited then has waited for too long, if it still waits."""
        self._timer = None
        first = self._waiting.unanswered()[:1]
        if first and first[0].until <= self._loop.system.now():
            self._late()
        self._watch()

    def _late(self) -> None:
        """Too few followers have acknowledged a transaction in time."""
        now, timeout = self._loop.system.now(), self._rules.timeout
        if self._missing_since is None:
            self._missing_since = now
            consequence = (
                'commits are refused until they are back'
                if self._rules.refuse
                else 'commits are answered without them, and can be LOST with this server'
            )
            log.error(
                'storage %s: after %s s (replica-timeout) %s: %s',
                self._name,
                timeout,
                self._situation(),
                consequence,
            )
        if self._rules.refuse:
            self._give_up(now)
        else:
            self._show(self._waiting.last)
        self._fail_votes(self._waiting.last)

    def _give_up(self, now: float) -> None:
        """Answer those that have waited for too long: they stay hidden until followers have
        them.
        """
        for entry in self._waiting.unanswered():
            if entry.until > now:
                break
            error = ClientDisconnected(
                f'it is not known whether transaction {entry.tid.hex()} will stay: it is on the '
                f'disk of this server, and {self._situation()}; look for what it has changed '
                'before you try again (wait-for-replicas)'
            )
            self._outcome_unknown(entry, error)


class AwaitingReplicaBackend(WrappedReplicaBackend, AwaitingBackend):
    """A replica: what it copies is shown at once, and what is committed here when it is promoted
    waits for its own followers.
    """
