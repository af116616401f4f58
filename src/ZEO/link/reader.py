"""Reading for all callers: which thread waits for the stream, and which applies what has come.

Enters: calls that wait, and the stream's bytes. Leaves: messages, handed out in the order in which
they arrived, each before the next. Fails: never by itself; however a thread leaves the middle of
taking bytes and applying them, the connection ends.

Two things that look like one are kept apart. To wait for the stream takes nothing from it: one of
the threads that wait for an answer does it for all, and should it be torn away, another finds out
and takes its turn. To take bytes and apply what they say is done under a lock by whichever thread
comes, whole or not at all: it is never held by a thread that sleeps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ZEO.Exceptions import ClientDisconnected, ProtocolError
from ZEO.link.arrivals import Arrivals
from ZEO.link.waiting import Waiting
from ZEO.locks import under
from ZEO.net.locks import Suspicion
from ZEO.net.stream import TICK, Stream
from ZEO.net.system import System
from ZEO.net.tls_errors import TlsError
from ZEO.wire.message import Message
from ZEO.wire.session import ClientSession

#: Seconds after which a reader that has not looked at the stream is taken for lost: it looks once
#: in a tick.
LOST_AFTER = 2.5 * TICK

#: Seconds between two looks whether the reader has taken what had arrived, and how many before it
#: is taken out of its hands.
_PAUSE, _PAUSES = 0.0002, 250

#: Seconds for which a thread waits for another one to apply what has arrived: that one may wait for
#: a lock that the first holds.
LONGEST_DRAIN = 5.0


class Owner(Protocol):
    """What is needed of :class:`ZEO.link.connection.Connection`."""

    lost: ClientDisconnected | None
    torn: ClientDisconnected


class _Drainer:
    """Has the turn of a caller that waits, without waiting."""

    __slots__ = ()
    looked = None


class Reader:
    """The way into one connection.

    :param waiting: all calls without an answer.
    :param arrivals: applies messages, unless the connection has ended.
    :param end: ends the connection: ``end(reason, cause)``.
    :param tick: looks at the time limits of a call whose caller is about to sleep; returns for how
        long it may, in seconds.
    """

    def __init__(
        self,
        stream: Stream,
        session: ClientSession,
        waiting: dict[int, Waiting],
        arrivals: Arrivals,
        end: Callable[[str, BaseException | None], None],
        tick: Callable[[Waiting], float],
        system: System,
    ) -> None:
        self.lock = system.lock()  # held by the thread that takes and applies
        self.heard = system.now()  # when the server sent something last
        self.has_ended = False  # the connection has
        self.owner: Owner | None = None  # whose way in this is
        self.suspicion = Suspicion(self.lock, lambda: (self._takes, self._applies), system)
        self._takes = 0  # how often a thread has taken what there was
        self._stream = stream
        self._recv_into = stream.recv_into
        self._session = session
        self._waiting = waiting
        self._handle, self._loaded = arrivals.apply, arrivals.loaded
        self._end = end
        self._tick = tick
        self._system = system
        self._this_thread = system.thread_numbers()
        self._applies: int | None = None  # the thread that does
        # at 0: the call whose caller waits for the stream now
        self._turns: dict[int, Waiting | _Drainer] = {}
        self._inbox: deque[Message] = deque()  # taken, not yet applied

    @property
    def is_waiting(self) -> bool:
        """Whether a caller waits for the stream."""
        return bool(self._turns)

    def wait_for(self, waiting: Waiting) -> None:
        """Return when an answer has been applied; read for all while no other thread does."""
        turns, stream = self._turns, self._stream
        try:
            try:
                while not waiting.done:
                    # Whose turn it is leaves no doubt: that is one step. A thread that is called by
                    # what is being applied reads without having it.
                    if turns.setdefault(0, waiting) is not waiting and (
                        self._applies != self._this_thread()
                    ):
                        self._sleep(waiting)
                        continue
                    if not stream.is_at_hand():
                        if waiting.done:  # by the thread that had the turn before
                            break
                        waiting.looked = self._system.now()
                        if not stream.wait(self._tick(waiting)):
                            continue
                    # In place of `under`, which would be one more call for each answer.
                    with self.lock: has_come = self._take()  # noqa: E701  # fmt: skip
                    if waiting.done:  # as mostly
                        break
                    if not has_come or waiting.since is not None:
                        self._tick(waiting)
            finally:  # as _leave does
                if turns.get(0) is waiting:
                    turns.pop(0, None)
                if self._waiting and not turns:
                    self._wake_one()
        except BaseException:  # one may strike in `finally` as well
            self._give_up(waiting)
            raise

    def drain(self) -> None:
        """Return when all that has arrived by now has been applied, without waiting for more."""
        if self._applies == self._this_thread():  # called by what is being applied
            return
        turn, turns = _Drainer(), self._turns
        try:
            try:
                if turns.setdefault(0, turn) is turn:
                    while under(self.lock, self._take) and not self.has_ended:
                        pass
                    return
            finally:
                self._leave(turn)
        except BaseException:  # one may strike in `finally` as well
            self._give_up(turn)
            raise
        self._let_reader_drain()

    def _let_reader_drain(self) -> None:
        """Another thread waits for the stream: what wakes it is its own to take, else it would
        sleep on.
        """
        left_alone, until = 0, self._system.now() + LONGEST_DRAIN
        while self._system.now() < until and not self.has_ended:
            if self._stream.wait_readable(0):
                left_alone += not self.lock.locked()
            elif not self.lock.locked():  # and so all that was taken has been applied
                return
            if left_alone > _PAUSES:
                under(self.lock, self._take)
            else:
                self._system.sleep(_PAUSE)

    def _sleep(self, waiting: Waiting) -> None:
        """Another thread reads: sleep until it has the answer, leaves reading to this thread, or is
        lost.
        """
        waiting.sleep(self._system, self._tick(waiting))
        reader = self._turns.get(0)
        if reader is None or waiting.done:
            return
        now = self._system.now()
        if (
            waiting.seen is None
            or waiting.seen[0] is not reader
            or waiting.seen[1] != reader.looked
        ):
            waiting.seen = reader, reader.looked, now
        elif now - waiting.seen[2] > LOST_AFTER and self._turns.get(0) is reader:
            # should it be just slow, both wait for the stream for a while: no harm
            self._turns[0] = waiting

    def _leave(self, turn: Waiting | _Drainer) -> None:
        """Give up a turn that is had; when no caller has it, wake one that waits, to take it."""
        turns = self._turns
        if turns.get(0) is turn:
            turns.pop(0, None)
        if self._waiting and not turns:
            self._wake_one()

    def _give_up(self, turn: Waiting | _Drainer) -> None:
        if self._turns.get(0) is turn:
            self._turns.pop(0, None)

    def _wake_one(self) -> None:
        for other in self._waiting.copy().values():
            if not other.done and other.bell is not None:
                other.wake()
                break

    # With the lock held.

    def _take(self) -> bool:
        """Take what the stream has, and apply it; return whether there was anything."""
        # One function with what a load needs: each load comes here.
        try:
            outer = self._applies
            self._applies = self._this_thread()
            self._takes += 1
            try:
                if self._inbox:
                    # this thread is called while it applies the message before these
                    self._apply()
                    return True
                session = self._session
                try:
                    count = self._recv_into(session.buffer())
                except (BlockingIOError, InterruptedError):  # nothing has come
                    return False
                except (OSError, TlsError) as error:
                    self._end(str(getattr(error, 'strerror', None) or error), error)
                    return False
                loaded = session.loaded(count)
                if loaded is None:
                    return self._received(count)
                self.heard = self._system.now()
                self._loaded(*loaded)
                return True
            finally:
                self._applies = outer
        except BaseException as error:
            if (owner := self.owner) is not None and owner.lost is None:
                # first, and by no call: there may be no memory for one, and nothing more may be
                # applied, nor answered from the cache, as if this had been
                owner.torn.__cause__ = error
                owner.lost = owner.torn
            self._end('reading was interrupted', error)
            raise

    def _received(self, count: int) -> bool:
        """Apply what that many bytes have completed."""
        if not count:
            self._end('the server has closed the connection', None)
            return False
        try:
            messages = self._session.received(count)
        except ProtocolError as error:
            self._end(str(error), error)
            return False
        self.heard = self._system.now()
        if len(messages) == 1:  # as mostly
            self._handle(messages[0])
        else:
            self._inbox.extend(messages)
            self._apply()
        return True

    def _apply(self) -> None:
        inbox = self._inbox
        while inbox:
            self._handle(inbox.popleft())

    def forget(self) -> None:
        """The connection has ended: what was not applied never is."""
        self._inbox.clear()
