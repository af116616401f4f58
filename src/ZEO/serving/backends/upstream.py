"""The server behind a storage that is itself a client: its connections, and what it has done.

Enters: reports of the storage, in its threads, that it checks what it has missed. Leaves: calls in
the loop's thread: what was missed must not pass for new, and clients must learn that the connection
is a new one. Fails: never; a server that does not answer is not waited for.

Clients of this server learn that by losing their connections: every client then asks what has
changed, drops old revisions whose end is not known, and forgets the oids that it has not used,
which the other server may give out again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import StorageError

from ZEO.net.loop import Loop, Timer
from ZEO.serving.filestorage import storages_within
from ZEO.serving.later import Later
from ZEO.serving.workers import Workers

#: Seconds that a ping waits for the other server: longer than any healthy network takes, shorter
#: than people notice.
LONGEST_WAIT = 0.5


class Upstream:
    """What is behind `storage`; all in the loop's thread, except for what the storage calls.

    :param connected: called when there is a new connection, before anything is reported
        that was missed.
    :param exact_again: called when :attr:`is_exact` becomes true.
    """

    def __init__(
        self,
        storage: Any,
        loop: Loop,
        workers: Workers,
        connected: Callable[[], None],
        exact_again: Callable[[], None],
    ) -> None:
        self._clients = [one for one in storages_within(storage) if hasattr(one, 'is_connected')]
        self._loop = loop
        self._workers = workers
        self._connected = connected
        self._exact_again = exact_again
        #: Whether the other server tells of each transaction exactly, as
        #: :attr:`~ZEO.serving.backends.base.Backend.is_exact` says; False until that is known.
        self.is_exact = self.is_there and self._is_told_exactly()
        # what the storage reports now may have happened long ago
        self.is_catching_up = False
        # who waits for the answer that is under way
        self._asked: list[tuple[Later, Timer]] | None = None
        self._waiting: list[tuple[Later, Timer]] = []  # who waits for the next one
        self._is_late = False  # the answer that is under way
        for client in self._clients:
            if hasattr(client, 'watch_checks'):
                client.watch_checks(
                    partial(loop.from_thread, self._check_begins),
                    self._on_check_ended,
                )

    @property
    def is_there(self) -> bool:
        """Whether the other server is connected."""
        return all(client.is_connected() for client in self._clients)

    def _is_told_exactly(self) -> bool:
        return all(getattr(client, 'changes_are_exact', False) for client in self._clients)

    def _on_check_ended(self) -> None:
        """In the connecting thread: what it says now belongs before what is reported next."""
        self._loop.from_thread(partial(self._check_ended, self._is_told_exactly()))

    def _check_begins(self) -> None:
        self.is_catching_up = True  # until a check succeeds
        self.is_exact = False  # it may be another kind of server
        self._connected()

    def _check_ended(self, is_exact: bool) -> None:
        self.is_catching_up = False
        was_exact, self.is_exact = self.is_exact, is_exact
        if is_exact and not was_exact:
            self._exact_again()

    def wait(self) -> Later | None:
        """Return a Later that is answered once everything is reported that the other server has
        done by now; None if it does not answer.
        """
        if self._is_late or not self.is_there:
            return None
        answer = Later()
        self._waiting.append(
            (answer, self._loop.later(LONGEST_WAIT, partial(self._give_up, answer)))
        )
        if self._asked is None:
            self._ask()
        return answer

    def _ask(self) -> None:
        self._asked, self._waiting = self._waiting, []
        try:
            asked = self._workers.run(self._ping)
        except StorageError:  # no thread
            self._answered()
        else:
            asked.then(self._answered, self._answered)

    def _ping(self) -> None:
        """In a worker thread."""
        for client in self._clients:
            if hasattr(client, 'ping') and client.is_connected():
                client.ping()

    def _answered(self, _: Any = None) -> None:
        asked, self._asked = self._asked or [], None
        self._is_late = False
        for answer, timer in asked:
            timer.cancel()
            answer.answer(None)
        if self._waiting:
            self._ask()

    def _give_up(self, answer: Later) -> None:
        self._is_late = self._asked is not None
        answer.answer(None)
