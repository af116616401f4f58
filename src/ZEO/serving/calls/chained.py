"""Transactions that one client commits without waiting: each only if the one before was committed.

Enters: ids of transactions that the client has sent. Leaves: their tids, in that order. Fails: with
the error of its vote or its end, for the transaction that has it; StorageTransactionError for all
that were to follow it.

A client that copies a database sends many transactions, of which no later one may be committed if
one fails: the copy would have a hole, and could not be continued from its last transaction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ZODB.POSException import ConflictError, StorageTransactionError

from ZEO.net.loop import ENDS
from ZEO.serving.later import Later


class Steps(NamedTuple):
    """The calls that a transaction is committed by, each given its id."""

    vote: Callable[[Any], Later]
    finish: Callable[[Any], Any]  # returns the tid, or a Later of it
    abort: Callable[[Any], Any]


class _Link(NamedTuple):
    txn_id: Any
    after: Any  # the id of the one before; None for the first
    answer: Later


class Chain:
    """Those of one client, one of which is voted on at a time."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._waiting: deque[_Link] = deque()
        self._is_busy = False  # whether one has begun to vote, and not to finish
        self._is_running = False  # whether `_run` will look at the next one
        self._last: Any = None  # the id of the last one, unless it has failed

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, txn_id: Any, after: Any) -> Later:
        """Commit a transaction when its turn comes.

        :param after: the id of the transaction that has to be committed first; None for none.
        """
        answer = Later()
        self._waiting.append(_Link(txn_id, after, answer))
        self._run()
        return answer

    def _run(self) -> None:
        """Begin what can begin."""
        if self._is_running:
            return
        self._is_running = True
        try:
            while self._waiting and not self._is_busy:
                self._begin(self._waiting.popleft())
        finally:
            self._is_running = False

    def _begin(self, link: _Link) -> None:
        self._is_busy = True
        try:
            self._check(link)
            vote = self._steps.vote(link.txn_id)
        except ENDS:
            raise
        except BaseException as error:  # as in dispatch: whatever is raised is the answer
            self._failed(link, error)
        else:
            vote.then(partial(self._voted, link), partial(self._failed, link))

    def _check(self, link: _Link) -> None:
        if link.after is not None and link.after != self._last:
            raise StorageTransactionError(
                'this transaction is not committed, since the one before it was not'
            )

    def _voted(self, link: _Link, answer: Any) -> None:
        try:
            self._check(link)  # again: the one before may have failed at its end meanwhile
            if any(isinstance(part, dict) for part in answer):
                raise ConflictError(
                    'this transaction has a conflict that only its client could resolve'
                )
            tid = self._steps.finish(link.txn_id)
        except ENDS:
            raise
        except BaseException as error:  # the same
            self._failed(link, error)
            return
        # The next one may be written while followers, or the disk, are waited for.
        self._last = link.txn_id
        self._is_busy = False
        if isinstance(tid, Later):
            tid.then(link.answer.answer, partial(self._lost, link))
        else:
            link.answer.answer(tid)
        self._run()

    def _lost(self, link: _Link, error: BaseException) -> None:
        """It has failed, or its outcome is not known, after the next ones may have begun."""
        self._last = None
        link.answer.fail(error)

    def _failed(self, link: _Link, error: BaseException) -> None:
        self._last = None
        self._is_busy = False
        try:
            self._steps.abort(link.txn_id)
        except ENDS:
            raise
        except BaseException:  # the first error says more
            pass
        link.answer.fail(error)
        self._run()
