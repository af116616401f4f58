"""The threads in which slow storage calls run, so that the loop serves other clients meanwhile.

Enters: work, and the client that waits for it. Leaves: a :class:`~ZEO.serving.later.Later`, whose
outcome comes to the loop's thread. Fails: what the work raises is the failure; StorageError where
no thread can be started for it. Where memory is short the outcome comes late, and is not lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ZODB.POSException import StorageError

from ZEO.net.loop import NO_MEMORY, Loop
from ZEO.serving import doors
from ZEO.serving.later import Later
from ZEO.serving.turns import Turns

#: Threads beyond the usual number that the server's own work may use, so that a commit never waits
#: for clients' calls.
RESERVED = 4


class Client(Protocol):
    """A client for which work is done."""

    def outstanding(self, calls: int) -> None:
        """The number of slow calls of this client that are not answered yet has changed."""


class Forgotten(StorageError):
    """The client disconnected before its call had its turn."""


class _Job:
    """One piece of work, and its outcome, which a thread posts: when the work is done, that must
    not need memory.
    """

    __slots__ = ('work', 'later', 'client', 'good', 'value', '_settled')

    def __init__(
        self,
        work: Callable[[], Any],
        client: Client | None,
        settled: Callable[[_Job], None],
    ) -> None:
        self.work: Callable[[], Any] | None = work
        self.later = Later()
        self.client = client
        self.good = False
        self.value: Any = None
        self._settled: Callable[[_Job], None] | None = settled

    def do(self, now: Callable[[], float]) -> None:
        """Do the work, in a thread."""
        try:
            self.later.begun = now()
            self.value = self.work()  # type: ignore[misc]
            self.good = True
        # A worker's boundary: whatever a storage raises is the answer to the client that asked.
        except BaseException as error:
            self.value = error
        self.work = None
        self.later.is_done = True

    def __call__(self) -> None:
        settled, self._settled = self._settled, None
        if settled is not None:  # else it was posted twice
            settled(self)

    def pass_on(self) -> None:
        """Give the outcome to who waits for it."""
        if self.good:
            self.later.answer(self.value)
        else:
            self.later.fail(self.value)


class _Once:
    """Calls a function once: what is posted where memory is short may be posted again."""

    __slots__ = ('_function',)

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


class Workers:
    """The threads in which slow storage calls run: a few, started when there is work and ended when
    there is none.

    Clients take turns, and no client has more than half of the threads. What is done for no client,
    such as a commit that holds the lock, goes first and is never dropped.

    :param threads: the largest number of them, without :data:`RESERVED`.
    :param computing: whether they compute instead of waiting for something; the loop goes first.
    """

    def __init__(self, loop: Loop, threads: int = 8, computing: bool = False) -> None:
        self._loop = loop
        self._limit = threads
        self._per_client = max(1, threads // 2)
        self._computing = computing
        self._running = 0  # threads
        # calls of a client that are not answered yet
        self._outstanding: dict[Client, int] = {}
        self._guard = loop.system.lock()  # of what follows
        self._urgent: deque[_Job] = deque()
        self._waiting: Turns[_Job] = Turns()
        self._busy: dict[Client, int] = {}  # threads that a client uses now

    def run(self, work: Callable[[], Any], client: Client | None = None) -> Later:
        """Call `work` in a thread; what it returns or raises becomes the answer.

        :param client: the client that waits for it; None for the server's own work.
        :raises StorageError: when no thread runs and none can be started.
        """
        job = _Job(work, client, self._settled)
        with self._guard:
            self._urgent.append(job) if client is None else self._waiting.add(client, job)
        error: BaseException | None
        try:
            error = self._start_one() if self._may_start(client) else None
        except MemoryError as failure:
            error = failure
        if error is not None and not self._running:
            self._take_back(job)
            raise error
        if client is not None:
            self._count(client, 1)
        return job.later

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return len(self._urgent) + len(self._waiting)

    def forget(self, client: Client) -> None:
        """Drop what waits for a client that is gone."""
        with self._guard:
            jobs = self._waiting.forget(client)
        self._outstanding.pop(client, None)
        for job in jobs:
            job.later.fail(Forgotten('the client has disconnected'))

    def _count(self, client: Client, change: int) -> None:
        calls = self._outstanding.get(client, 0) + change
        if calls > 0:
            self._outstanding[client] = calls
        else:
            self._outstanding.pop(client, None)
        client.outstanding(max(0, calls))

    def _may_start(self, client: Client | None) -> bool:
        if client is None:
            return self._running < self._limit + RESERVED
        return self._running < self._limit and self._outstanding.get(client, 0) < self._per_client

    def _take_back(self, job: _Job) -> None:
        with self._guard:
            if job.client is None:
                self._urgent.remove(job)
            else:
                self._waiting.remove(job.client, lambda other: other is job)

    def _start_one(self) -> StorageError | None:
        """Start a thread; return the error if that fails."""
        shares = False
        try:
            self._loop.sharing.begin(self._computing)
            shares = True
            self._running += 1  # before it runs
            self._loop.system.spawn('ZEO worker', partial(self._serve, _Once(self._ended)))
        except (RuntimeError, MemoryError, OSError) as error:
            if shares:
                self._running -= 1
                self._loop.sharing.end(self._computing)
            return StorageError(
                f'the server cannot start a thread for this call: {error}; try again later'
            )
        return None

    def _serve(self, ended: Callable[[], None]) -> None:
        try:
            doors.within(self._serve_all)()
        except MemoryError:  # before or behind everything: another thread is started if need be
            pass
        while True:
            try:
                if self._post(ended):
                    break
            except MemoryError:  # until there is memory
                pass

    def _serve_all(self) -> None:
        now = self._loop.system.now
        try:
            self._loop.sharing.enter(self._computing)
        except MemoryError:  # the loop does not go first, then
            self._loop.lost_task = True
        while True:
            job: _Job | None = None
            try:
                job = self._next()
                if job is None:
                    break
                job.do(now)
                self._leave(job)
            except MemoryError as error:  # beside the work
                self._loop.lost_task = True
                if job is None:
                    continue
                if not job.later.is_done:
                    job.value, job.later.is_done = error, True
            while True:
                try:
                    if self._post(job):
                        break
                except MemoryError:  # until there is memory
                    pass

    def _post(self, outcome: Callable[[], None]) -> bool:
        """Have an outcome called in the loop's thread; return whether there was memory for that."""
        try:
            self._loop.from_thread(outcome)
            return True
        except MemoryError:
            self._loop.system.sleep(NO_MEMORY)
            return False

    def _next(self) -> _Job | None:
        with self._guard:
            if self._urgent:
                return self._urgent.popleft()
            found = self._waiting.take(self._has_turn)
            if found is None:
                return None
            client, job = found
            self._busy[client] = self._busy.get(client, 0) + 1
            return job

    def _has_turn(self, client: Client) -> bool:
        return self._busy.get(client, 0) < self._per_client

    def _leave(self, job: _Job) -> None:
        if job.client is not None:
            with self._guard:
                self._busy[job.client] -= 1
                if not self._busy[job.client]:
                    del self._busy[job.client]

    def _settled(self, job: _Job) -> None:
        """In the loop's thread: the outcome of a job is known."""
        try:
            if job.client in self._outstanding:
                self._count(job.client, -1)
        finally:
            job.pass_on()

    def _ended(self) -> None:
        """In the loop's thread: one thread has found nothing to do."""
        self._running -= 1
        self._loop.sharing.end(self._computing)
        with self._guard:
            more = bool(self._urgent) or any(
                self._has_turn(client) for client in self._waiting.clients()
            )
        if more and self._running < self._limit:  # it came in while the last thread was leaving
            error = self._start_one()
            if error is not None and not self._running:
                self._fail_all(error)

    def _fail_all(self, error: StorageError) -> None:
        """Fail everything that waits."""
        with self._guard:
            jobs = [
                *self._urgent,
                *(
                    job
                    for client in self._waiting.clients()
                    for job in self._waiting.forget(client)
                ),
            ]
            self._urgent.clear()
        for job in jobs:
            job.value = error
            job()
