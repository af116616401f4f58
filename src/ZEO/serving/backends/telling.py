"""What the clients of an MVCC storage are sent, in the order of the transactions.

Enters: what the follower has found, and what becomes of this server's own transactions. Leaves:
calls in that order: a transaction of others, or one of this server that is answered. Fails: never.
All in the loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from ZODB.utils import p64, u64

from ZEO.net.loop import Loop
from ZEO.serving.backends.base import Committing
from ZEO.serving.backends.changes import Step
from ZEO.serving.backends.follow import AGAIN, Met
from ZEO.serving.backends.order import Order
from ZEO.serving.backends.view import View
from ZEO.serving.later import Later

log = logging.getLogger('ZEO.StorageServer')

#: Seconds that the answer to a commit waits until the view has passed it.
LONGEST_PASSING = 10.0


class _Permanent(NamedTuple):
    """A transaction of this server that is permanent, and not reported yet."""

    commit: Committing
    answer: Later


class Telling:
    """Transactions on their way to the clients.

    :param request: has the follower poll, and then calls what it is given.
    """

    def __init__(self, name: str, loop: Loop, view: View, request: Callable[[Met], None]) -> None:
        self._name = name
        self._loop = loop
        self._view = view
        self._request = request
        self._order = Order()
        self._waiting: list[Met] = []  # until clients were sent all that was found
        self._heard: Callable[[bytes, list[bytes]], None]
        self._lost: Callable[[], None]

    def to(
        self, heard: Callable[[bytes, list[bytes]], None], lost_track: Callable[[], None]
    ) -> None:
        """Report to these, as :meth:`~ZEO.serving.backends.base.Backend.follow` says."""
        self._heard, self._lost = heard, lost_track

    def when_sent(self, met: Met) -> None:
        """Call `met` with None once the clients were sent all that was found up to now."""
        if self._order:
            self._waiting.append(met)
        else:
            met(None)

    # Transactions of this server.

    def finishing(self, commit: Committing) -> None:
        """One begins to become permanent."""
        self._order.finishing(commit, commit.changed)

    def permanent(self, commit: Committing, answer: Later, tid: bytes) -> None:
        """It is; the answer waits until the view has passed it."""
        self._order.permanent(commit, tid, _Permanent(commit, answer))
        self._loop.later(LONGEST_PASSING, partial(self._passes_late, tid))
        self._send()
        if self._order.is_waiting(tid):
            self._request(partial(self._passed, tid))

    def failed(self, commit: Committing, answer: Later, error: BaseException) -> None:
        """It is not, or that is not known."""
        self._order.failed(commit)
        commit.phase.failed(commit, error)
        answer.fail(error)
        self._send()

    def _passed(self, tid: bytes, error: BaseException | None) -> None:
        """All transactions are reported up to this one, unless the database can't be asked."""
        if not self._order.is_waiting(tid):
            return
        if error is not None:
            again = partial(self._request, partial(self._passed, tid))
            self._loop.later(AGAIN, again)
        else:
            self._order.passed(tid)
        self._send()

    def _passes_late(self, tid: bytes) -> None:
        """A transaction that is permanent is answered as such, even if the database can't be asked
        any more what was committed before it.
        """
        permanent = self._order.gone(tid)
        if permanent is not None:
            self._lost()  # first, as in lost_track
            self._loop.attempt(partial(self._answer, tid, permanent))
            self._start_anew(tid)

    def _answer(self, tid: bytes, permanent: _Permanent) -> None:
        permanent.commit.phase.finished(permanent.commit, tid)
        permanent.answer.answer(tid)

    # What the follower has found.

    def reported(self, steps: Iterable[Step]) -> None:
        """These transactions follow those before."""
        self._order.found(steps)
        self._send()

    def lost_track(self, last: bytes, why: str) -> None:
        """It is not known what has changed."""
        log.error('storage %s: %s: the clients drop what they have cached', self._name, why)
        permanent = self._order.lost_track(last)
        # first: a client that was sent one of these would read what others changed before it as it
        # was, until it has dropped its cache
        self._lost()
        for tid in permanent:
            self._loop.attempt(partial(self._answer, tid, self._order.gone(tid)))
        # again: these were noted, and what others changed between them was not
        if last in permanent:
            self._start_anew(last)
        else:
            self._view.reset(last)
            self._lost()
        self._send()

    def _start_anew(self, last: bytes) -> None:
        """Have all clients drop what they have cached, though they were sent a transaction before
        others that they do not know.

        One that has seen `last` would have no reason to, if that was the last transaction when it
        comes back. So the view is a moment behind it.
        """
        self._view.reset(p64(u64(max(last, self._view.last)) + 1))
        self._lost()

    def _send(self) -> None:
        """Send clients what was found, as far as it is known whose it is."""
        late = None  # a transaction which clients take for one that they have seen
        while (following := self._order.take()) is not None:
            tid, oids, permanent = following
            if tid <= self._view.last and (oids or permanent is not None):
                late = tid
            if permanent is not None:
                self._loop.attempt(partial(self._answer, tid, permanent))
            elif oids:
                self._loop.attempt(partial(self._heard, tid, oids))
            else:
                self._view.advance(tid, oids)
        if late is not None:
            self._start_anew(late)
        if self._order:
            return
        waiting, self._waiting = self._waiting, []
        for met in waiting:
            self._loop.attempt(partial(met, None))
