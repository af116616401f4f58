"""One live connection to a server, shared by all threads of the client.

Enters: calls from any thread, and what the server sends. Leaves: results to those who called;
everything is applied in the order in which it arrived, by whichever thread reads, before the caller
wakes. Fails: every call ends with ClientDisconnected when the connection is lost, the server falls
silent, or the call's time is over; a fault of the server is raised in the caller.

A calling thread sends its call itself (:mod:`ZEO.link.outbox`), and then reads for all callers
until its own answer has come (:mod:`ZEO.link.reader`). No thread hand-off is on the way of a single
caller's call. When no call waits, a watcher reads.

An exception may strike a thread at any bytecode: a signal handler that raises, one that another
thread throws in, MemoryError. So a thread that leaves the middle of a send, or of applying what has
come, ends the connection: how far it got is not known, and the next connection begins by checking
the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count
from math import inf
from typing import Any

from ZEO.Exceptions import ClientDisconnected, ProtocolError
from ZEO.link.arrivals import Arrivals
from ZEO.link.begun_calls import BegunCalls
from ZEO.link.commit_calls import IDS, CommitCalls
from ZEO.link.deadlines import Deadlines
from ZEO.link.last_users import LastUsers
from ZEO.link.outbox import NotSent, Outbox, too_large
from ZEO.link.reader import Reader
from ZEO.link.reasons import not_greeted
from ZEO.link.signs_of_life import SignsOfLife
from ZEO.link.waiting import Load, Waiting
from ZEO.link.watcher import Watcher
from ZEO.net.stream import TICK, Stream
from ZEO.net.system import REAL, System
from ZEO.wire import shapes
from ZEO.wire.frames import frame, framed
from ZEO.wire.session import ClientSession

log = logging.getLogger('ZEO.ClientStorage')

#: Bytes of the largest message that a frame can announce; a server may take less, and say so.
LARGEST = 2**32 - 1


class Connection(CommitCalls, BegunCalls):
    """Calls over `stream`.

    :param events: takes the server's one-way messages: ``on_message(name, args)``; and the end:
        ``on_lost(connection, reason)``.
    :param message_size: the largest message that is accepted, in bytes.
    :param limit: seconds that a call may take; 0: any; None: the default of
        :func:`ZEO.link.deadlines.time_limit`.
    """

    def __init__(
        self,
        stream: Stream,
        where: str,
        events: Any,
        message_size: int,
        system: System = REAL,
        limit: float | None = None,
    ) -> None:
        self.where = where  # the server's address, for people
        self.who = where  # the same with the storage, for the log
        self._stream = stream
        self.events = events
        self._system = system
        self._session = ClientSession(message_size)
        self._ids = count(1)
        # message id -> the call whose answer has not come
        self._waiting: dict[int, Waiting] = {}
        self._outbox = Outbox(stream, self._check, self.end, system)
        self._signs = SignsOfLife(self._session, self._outbox)
        self.deadlines = Deadlines(limit, self._signs.ask, self.end, system)
        self._arrivals = Arrivals(self, self._waiting, self.deadlines)
        self._reader = Reader(
            stream, self._session, self._waiting, self._arrivals, self.end, self._tick, system
        )
        self.last_users = LastUsers(stream, self._outbox, self._reader, where, system)
        self._said_so = False  # all who must know of the loss do
        self.lost: ClientDisconnected | None = None  # why there is no connection any more
        # why, where a thread was torn out of applying: made now, since it may be for want of memory
        self.torn = ClientDisconnected(f'{where}: reading was interrupted')
        self._reader.owner = self
        # the largest message that the server takes, in bytes
        self.largest = LARGEST
        self.read_only = False  # whether the server refuses what writes
        self.is_stopping = False  # whether the server is about to stop

    # Calling.

    def call(
        self, name: str, args: tuple[Any, ...], applied: Callable[[Any], Any] | None = None
    ) -> Any:
        """Call the server and return what it answers.

        :param applied: is called with the result, in the order of everything that arrives; its
            result is returned instead.
        :raises ClientDisconnected: when the connection is lost before the answer has come.
        :raises Exception: what the server failed with.
        """
        message_id = next(self._ids) % IDS
        message = self._session.codec.call(message_id, name, args)
        if len(message) > self.largest:
            raise too_large(name, len(message), self.largest, self.where)
        return self._call(
            message_id,
            frame(message),
            Waiting(name, applied, applied is not None, shapes.ANSWERS.get(name)),
        )

    def call_within(self, seconds: float, name: str, args: tuple[Any, ...]) -> Any:
        """As :meth:`call`, with a time limit of its own.

        :param seconds: that it may take until the connection ends; 0 for no limit.
        """
        message_id = next(self._ids) % IDS
        waiting = Waiting(name, None, False, shapes.ANSWERS.get(name))
        waiting.limit = seconds or inf
        message = self._session.codec.call(message_id, name, args)
        return self._call(message_id, frame(message), waiting)

    def load_before(self, oid: bytes, tid: bytes, state: Any) -> Any:
        """Call loadBefore and return the answer, which a :class:`ZEO.link.state.ClientState` has
        applied.
        """
        # All that a load needs, in one function: see _call for the plain way.
        message_id = next(self._ids) % IDS
        data = self._session.codec.load_before(message_id, oid, tid)
        waiting, outbox = Load(oid, state), self._outbox
        try:
            self._waiting[message_id] = waiting
            with outbox.lock: outbox.send_alone(data)  # noqa: E701  # fmt: skip
            waiting.sent = True
            self._reader.wait_for(waiting)
        except BaseException as error:
            self._leave(message_id, waiting, error)
            raise
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def send(self, name: str, args: tuple[Any, ...]) -> None:
        """Send a one-way message, soon; the next call sends it at the latest."""
        self._put(name, framed(self._session.codec.send(name, args)))

    def send_chunk(self, data: bytes) -> None:
        """Send part of a blob, which is not copied; no larger than a frame can be."""
        pieces = self._session.codec.chunk(data)
        self._outbox.put(pieces, sum(map(len, pieces)))

    def leave(self, name: str, args: tuple[Any, ...]) -> None:
        """The same, and never send it by itself; may be called by the garbage collector, in the
        middle of anything.
        """
        self._outbox.leave(framed(self._session.codec.send(name, args)))

    def flush(self) -> None:
        """Send what waits to be sent."""
        self._outbox.flush()

    def flush_within(self, seconds: float) -> None:
        """The same before the connection is ended, for at most that long."""
        self._outbox.flush_within(seconds)

    def _call(self, message_id: int, data: bytes, waiting: Waiting) -> Any:
        """Send the frame `data` of a call, and return the answer."""
        try:
            self._waiting[message_id] = waiting
            with self._outbox.lock: self._outbox.send_alone(data)  # noqa: E701  # fmt: skip
            waiting.sent = True
            self._reader.wait_for(waiting)
        except BaseException as error:
            self._leave(message_id, waiting, error)
            raise
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def _leave(self, message_id: int, waiting: Waiting, error: BaseException) -> None:
        """The caller does not wait for its answer any more.

        What the answer brings is applied all the same when it comes, as everything that the server
        sends. Where there is nothing to apply it, it would not be known what the call has changed
        at the server, nor when the last part of its answer has come: the connection ends.
        """
        if self.lost is not None:
            self._waiting.pop(message_id, None)
        elif not (waiting.done or (waiting.has_effect and waiting.sent)):
            self.end(f'{waiting.name} was interrupted', error)

    # The server is about to stop.

    def has_calls(self) -> bool:
        """Return whether an answer is awaited."""
        return bool(self._waiting)

    def call_no_more(self) -> None:
        """Send what waits; later calls raise :class:`NotSent`."""
        self._outbox.end()

    # Time.

    def _tick(self, waiting: Waiting) -> float:
        """Look at the time limits of a call whose caller is about to sleep; returns for how long it
        may, in seconds.
        """
        if self.lost is not None:
            self._say_so()
            self._arrivals.fail(waiting)
            return 0.0
        return self.deadlines.look(waiting, self._reader.heard)

    # Without a caller.

    def tls_binding(self) -> bytes | None:
        """Return what only the two ends of this TLS connection can know; None without TLS.

        :raises TlsError: when there is nothing of that kind.
        """
        return self._stream.tls_binding()

    @property
    def greeted(self) -> bool:
        """Whether the server has said which protocol it speaks."""
        return self._session.is_greeted

    def greet(self, seconds: float) -> None:
        """Wait until the server has said hello.

        :param seconds: how long that may take.
        :raises ClientDisconnected: when it has not, or the connection is lost.
        :raises ProtocolError: when what it says is not a greeting.
        """
        until = self._system.now() + seconds
        while not self.greeted and self.lost is None:
            if self._stream.wait(TICK):
                self._reader.drain()
            if not self.greeted and self._system.now() > until:
                self.end(f'no ZEO greeting within {seconds:g} s', None)
        if self.lost is not None:
            raise not_greeted(self.disconnected())
        answer = self._session.answer
        self._outbox.put((answer,), len(answer))

    def drain(self) -> None:
        """Return when all that has arrived by now has been applied, without waiting for more."""
        if self.lost is None:
            self._reader.drain()

    def watch(self) -> None:
        """Read whenever no caller does, until the connection is lost; for a thread of its own."""
        try:
            Watcher(self, self._stream, self._outbox, self._reader, self._waiting, self._signs).run(
                self._system
            )
        # The thread's boundary: without a watcher an idle client would not know what changes.
        except BaseException as error:
            # first: there may be no memory for the log
            self.end(f'the watcher failed: {error!r}', error)
            log.exception('%s: the watcher of the connection failed', self.who)
        finally:
            self._say_so()
            self.last_users.free()

    # The end.

    def lose(self, reason: str, cause: BaseException | None = None) -> None:
        """End the connection; every call that waits ends with ClientDisconnected. Harmless when it
        has ended.
        """
        if self.lost is None:
            lost = ClientDisconnected(reason)
            lost.__cause__ = cause
            self.lost = lost
        self._say_so()

    def end(self, reason: str, cause: BaseException | None) -> None:
        """As :meth:`lose`, with the server's address, and a log line for a breach of protocol."""
        if self.lost is None and isinstance(cause, ProtocolError):
            log.error('%s: the connection is closed: %s', self.who, cause)
        self.lose(f'{self.where}: {reason}', cause)

    def _say_so(self) -> None:
        """Have all who must know of the loss know; may be done again, should a thread have been
        torn out of it.
        """
        if not self._said_so and self.lost is not None:
            self._reader.has_ended = self._outbox.has_ended = True
            self._stream.shut()
            for waiting in self._waiting.copy().values():
                self._arrivals.fail(waiting)
            self.events.on_lost(self, str(self.lost))
            self._said_so = True

    def _check(self) -> None:
        """Raise ClientDisconnected when the connection has ended."""
        if self.lost is not None:
            self._say_so()
        if self.is_stopping and self._outbox.has_ended:
            raise NotSent(f'{self.where}: the server stops')
        if self.lost is not None:
            raise self.disconnected()

    def disconnected(self) -> ClientDisconnected:
        """A new exception each time: several threads raise it."""
        error = ClientDisconnected(
            'the connection is lost' if self.lost is None else self.lost.args[0]
        )
        error.__cause__ = self.lost and self.lost.__cause__
        return error

    def abandon(self) -> None:
        """In a forked child: forget the connection, which stays the parent's."""
        self.lost = ClientDisconnected('the process was forked')
        self._said_so = True
        self._stream.close()
