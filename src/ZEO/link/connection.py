"""One live connection to a server, shared by all threads of the client.

Enters: calls from any thread, and what the server sends.  Leaves: results to those who called; everything is applied in the
order in which it arrived, by whichever thread reads, before the caller wakes.  Fails: every call ends with ClientDisconnected
when the connection is lost or the server falls silent; a fault of the server is raised in the caller.

A calling thread sends its call itself, and then reads for all who wait until its own answer has come; then another waiter
reads.  No thread hand-off is on the way of a single caller's call.  When nobody waits, a watcher reads.
"""
from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from ZEO.Exceptions import ClientDisconnected, MessageTooLarge, ProtocolError
from ZEO.net.stream import Stream
from ZEO.net.system import REAL, System
from ZEO.net.tls import TlsError
from ZEO.wire import faults, shapes
from ZEO.wire.frames import frame, framed
from ZEO.wire.messages import FAULT, KEEP_ALIVE_ID, REPLY, Message
from ZEO.wire.session import ClientSession

log = logging.getLogger('ZEO.ClientStorage')

#: One-way messages wait for company up to this many bytes, then they are sent.
SEND_AHEAD = 64 * 1024

#: Seconds without a word from the server, while somebody waits for it, after which it is asked for a sign of life; and after
#: which it is given up.  A healthy server answers a ping at once, whatever its storages do.
ASK_AFTER, GIVE_UP_AFTER = 30.0, 120.0

#: Seconds between two keep-alives, which keep firewalls from forgetting an idle connection.
KEEP_ALIVE = 60.0

#: Seconds for which the watcher leaves reading to the callers after a call; each round costs it a wake-up.
CALM = 0.005

#: The same while somebody waits for an answer, and so reads.
BUSY = 0.05

#: Bytes of the largest message that a frame can announce; a server may take less, and say so.
LARGEST = 2**32 - 1

#: Message ids are four bytes in the pickles of both sides.
_IDS = 2**31


class _Waiting:
    """A call without its answer."""

    __slots__ = ('lock', 'applied', 'done', 'result', 'error')

    def __init__(self, applied: Callable[[Any], Any] | None) -> None:
        self.lock: Any = None         # held by the caller who sleeps; released to wake it
        self.applied = applied        # called with the result by the thread that reads; returns the caller's
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class Begun:
    """A call that was made without waiting for its answer."""

    def __init__(self, connection: Connection, waiting: _Waiting) -> None:
        self._connection = connection
        self._waiting = waiting

    @property
    def done(self) -> bool:
        """Whether the answer was applied, or will never come."""
        return self._waiting.done

    def wait(self) -> Any:
        """Return the result; raises what a call raises."""
        return self._connection.finish_waiting(self._waiting)


class Connection:
    """Calls over `stream`.

    :param events: takes the server's one-way messages: ``on_message(name, args)``; and the end: ``on_lost(connection, reason)``.
    :param message_size: the largest message that is accepted, in bytes.
    """

    def __init__(self, stream: Stream, where: str, events: Any, message_size: int, system: System = REAL) -> None:
        self.where = where                                 # the server's address, for people
        self._stream = stream
        self.events = events
        self._system = system
        self._session = ClientSession(message_size)
        self._ids = count(1)
        self._waiting: dict[int, _Waiting] = {}            # message id -> who waits for the answer
        self._sending = system.lock()                      # who sends
        self._unsent: list[bytes] = []                     # one-way messages that wait for company
        self._unsent_size = 0
        self._reading = system.lock()                      # who reads
        self._reader: int | None = None                    # that thread
        self._inbox: deque[Message] = deque()              # received, not yet applied; the reader's
        self._heard = system.now()                         # when the server sent something last
        self._asked = False                                # for a sign of life, since then
        self._calls = 0                                    # so many calls were made: the watcher sees whether it is calm
        self.lost: ClientDisconnected | None = None        # why there is no connection any more
        self.largest = LARGEST                             # the largest message that the server takes, in bytes
        self.read_only = False                             # whether the server refuses what writes

    # Calling.

    def call(self, name: str, args: tuple[Any, ...], applied: Callable[[Any], Any] | None = None) -> Any:
        """Call the server and return what it answers.

        :param applied: is called with the result, in the order of everything that arrives; its result is returned instead.
        :raises ClientDisconnected: when the connection is lost before the answer has come.
        :raises Exception: what the server failed with.
        """
        message_id = next(self._ids) % _IDS
        message = self._session.codec.call(message_id, name, args)
        if len(message) > self.largest:
            raise too_large(name, len(message), self.largest, self.where)
        return self._call(message_id, frame(message), shapes.checking(name, applied, self.where))

    def load_before(self, oid: bytes, tid: bytes, applied: Callable[[Any], Any]) -> Any:
        """The same for the hot path, ``call('loadBefore', (oid, tid), applied)``."""
        message_id = next(self._ids) % _IDS
        return self._call(message_id, self._session.codec.load_before(message_id, oid, tid), applied)

    def send(self, name: str, args: tuple[Any, ...]) -> None:
        """Send a one-way message, soon; the next call sends it at the latest."""
        message = self._session.codec.send(name, args)
        if len(message) > self.largest:
            raise too_large(name, len(message), self.largest, self.where)
        with self._sending:
            if self.lost is not None:
                raise self._disconnected()
            self._unsent += framed(message)
            self._unsent_size += len(message)
            if self._unsent_size > SEND_AHEAD:
                self._flush(b'')

    def flush(self) -> None:
        """Send what waits to be sent."""
        with self._sending:
            if self._unsent:
                self._flush(b'')

    def begin(self, name: str, args: tuple[Any, ...], applied: Callable[[Any], Any]) -> Begun:
        """Call the server and do not wait; it leaves with the next call, or :meth:`flush`."""
        message_id = next(self._ids) % _IDS
        data = frame(self._session.codec.call(message_id, name, args))
        waiting = self._expect(message_id, shapes.checking(name, applied, self.where))
        with self._sending:
            if self.lost is not None:
                self._waiting.pop(message_id, None)
                raise self._disconnected()
            self._unsent.append(data)
            self._unsent_size += len(data)
        return Begun(self, waiting)

    def finish_waiting(self, waiting: _Waiting) -> Any:
        """Return the result of a call that was begun; raises what :meth:`call` does."""
        self._wait(waiting)
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def _expect(self, message_id: int, applied: Callable[[Any], Any] | None) -> _Waiting:
        waiting = self._waiting[message_id] = _Waiting(applied)
        self._calls += 1
        return waiting

    def _call(self, message_id: int, data: bytes, applied: Callable[[Any], Any] | None) -> Any:
        """Send the frame `data` of a call, and return the answer."""
        waiting = self._expect(message_id, applied)
        try:
            with self._sending:
                if self.lost is not None:
                    raise self._disconnected()
                self._flush(data)
            self._wait(waiting)
        finally:
            self._waiting.pop(message_id, None)
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def _flush(self, data: bytes) -> None:
        """Send what waits and `data`, the sending lock being held."""
        try:
            if self._unsent:
                unsent, self._unsent, self._unsent_size = self._unsent, [], 0
                self._stream.send_all([*unsent, data])
            else:
                self._stream.send(data)
        except (OSError, TlsError) as error:
            self.lose(f'{self.where}: {getattr(error, "strerror", None) or error}')
            raise self._disconnected() from None

    def _wait(self, waiting: _Waiting) -> None:
        """Return when the answer has been applied; read for everybody while nobody else does."""
        while not waiting.done:
            if self._reading.acquire(blocking=False):
                self._read_until(waiting)
            elif self._reader == self._system.this_thread():
                self._read_on(waiting)   # called by what is being applied
            elif waiting.lock is None:
                lock = self._system.lock()
                lock.acquire()
                waiting.lock = lock   # from now on the reader can wake us; look again, it may have stopped before
            else:
                waiting.lock.acquire()

    def _read_until(self, waiting: _Waiting) -> None:
        self._reader = self._system.this_thread()
        try:
            self._read_on(waiting)
        except BaseException:   # a KeyboardInterrupt, maybe between a receive and what it brought
            self.lose(f'{self.where}: reading was interrupted')
            raise
        finally:
            self._stop_reading()

    def _read_on(self, waiting: _Waiting) -> None:
        while not waiting.done:
            if not (self._inbox and self._apply_one()):
                self._receive(wait=True)

    def _stop_reading(self) -> None:
        """Give up the reader's role; wake one who waits, to take it."""
        self._reader = None
        self._reading.release()
        if self._waiting:
            for other in tuple(self._waiting.values()):
                if not other.done and other.lock is not None:
                    _wake(other)
                    break

    # Reading; the reading lock is held.

    def _receive(self, wait: bool) -> bool:
        """Take bytes from the stream; tell whether there were any."""
        if self.lost is not None:
            self._fail_all()
            return False
        receive = self._stream.receive if wait else self._stream.receive_available
        session = self._session
        try:
            received = receive(session.buffer())
            if received:
                self._heard = self._system.now()
                self._asked = False
                self._inbox.extend(session.received(received))
                if session.answer:
                    self._unsent.append(session.answer)   # goes out in front of our first call
                    session.answer = b''
                return True
        except ProtocolError as error:
            log.error('%s: the connection is closed: %s', self.where, error)
            self.lose(f'{self.where}: {error}', error)
        except (OSError, TlsError) as error:
            self.lose(f'{self.where}: {getattr(error, "strerror", None) or error}', error)
        else:
            if received == 0:
                self.lose(f'{self.where}: the server has closed the connection')
            elif wait:
                self._check_silence()
        return False

    def _check_silence(self) -> None:
        silent = self._system.now() - self._heard
        if silent > GIVE_UP_AFTER:
            self.lose(f'{self.where}: the server has not said a word for {silent:.0f} s')
        elif silent > ASK_AFTER and not self._asked and self.greeted:
            self._asked = True
            with self._sending:
                self._flush(frame(self._session.codec.call(0, 'ping', ())))

    def _apply_one(self) -> bool:
        """Apply the next message that was received; tell whether there was one."""
        if not self._inbox:
            return False
        if self.lost is not None:   # whatever comes after a loss is not of the connection that the cache was checked for
            self._inbox.clear()
            return False
        message_id, flags, name, args = self._inbox.popleft()
        if name == REPLY:
            waiting = self._waiting.pop(message_id, None) if type(message_id) is int else None
            if waiting is not None:
                self._settle(waiting, flags, args)
        else:
            self._tell(name, args)
        return True

    def _tell(self, name: str, args: Any) -> None:
        try:
            self.events.on_message(name, args)
        except ProtocolError as error:
            self.lose(f'{self.where}: {error}', error)
        # Nobody knows how far it got: the connection ends, and the next one checks the cache.
        except Exception as error:
            log.exception('%s: %s could not be applied', self.where, name)
            self.lose(f'{self.where}: {name} could not be applied: {error}', error)

    def _settle(self, waiting: _Waiting, flags: Any, result: Any) -> None:
        try:
            if flags == FAULT:
                waiting.error = faults.restore(result, self.where)
            else:
                waiting.result = result if waiting.applied is None else waiting.applied(result)
        # What a caller's own callback raises is that caller's, not the thread's that happens to read.
        except BaseException as error:
            waiting.error = error
        waiting.done = True
        _wake(waiting)

    # Without a caller.

    @property
    def greeted(self) -> bool:
        """Whether the server has said which protocol it speaks."""
        return self._session.is_greeted

    def greet(self, deadline: float) -> None:
        """Wait until the server has said hello.

        :param deadline: the time by which it must have.
        :raises ClientDisconnected: when it has not, or the connection is lost.
        :raises ProtocolError: when what it says is no greeting.
        """
        with self._reading:
            while not self.greeted and self.lost is None:
                self._receive(wait=True)
                if not self.greeted and self._system.now() > deadline:
                    self.lose(f'{self.where}: what listens there has not greeted us in time: is it a ZEO server, '
                              'and do both sides use TLS or none?')
        if self.lost is not None:
            raise self._disconnected()

    def drain(self) -> None:
        """Apply what has arrived by now, without waiting; when another thread reads, it is doing that."""
        if self._reading.acquire(blocking=False):
            self._reader = self._system.this_thread()
            try:
                self._take_available()
            finally:
                self._stop_reading()

    def _take_available(self) -> None:
        while self._apply_one():
            pass
        while self.lost is None and self._receive(wait=False):
            while self._apply_one():
                pass

    def watch(self) -> None:
        """Read whenever nobody else does, until the connection is lost; for a thread of its own."""
        kept_alive = self._system.now()
        while self.lost is None:
            calls = self._calls
            self._system.sleep(BUSY if self._waiting else CALM)
            if calls == self._calls and not self._waiting and self._stream.wait_readable(KEEP_ALIVE / 4):
                self.drain()
            if self._system.now() - kept_alive > KEEP_ALIVE:
                kept_alive = self._system.now()
                self._keep_alive()
        self.free()

    def _keep_alive(self) -> None:
        try:
            with self._sending:
                self._flush(frame(self._session.codec.reply(KEEP_ALIVE_ID, None)))
        except ClientDisconnected:   # whoever reads next will see it
            pass

    # The end.

    def lose(self, reason: str, cause: BaseException | None = None) -> None:
        """End the connection; every call that waits ends with ClientDisconnected.  Harmless when it has ended."""
        if self.lost is not None:
            return
        self.lost = ClientDisconnected(reason)
        self.lost.__cause__ = cause
        self._stream.shut()
        self._fail_all()
        self.events.on_lost(self, reason)

    def finish(self) -> None:
        """Return once no thread applies anything of this lost connection any more."""
        if self._reader != self._system.this_thread():
            with self._reading:
                self._inbox.clear()

    def free(self) -> None:
        """Close the file, once no thread reads any more."""
        with self._reading, self._sending:
            self._inbox.clear()
            self._stream.close()

    def abandon(self) -> None:
        """In a forked child: forget the connection, which stays the parent's."""
        self.lost = ClientDisconnected('the process was forked')
        self._stream.close()

    def _fail_all(self) -> None:
        for waiting in tuple(self._waiting.values()):
            if not waiting.done:
                waiting.error = self._disconnected()
                waiting.done = True
                _wake(waiting)

    def _disconnected(self) -> ClientDisconnected:
        """A new exception each time: several threads raise it."""
        assert self.lost is not None
        error = ClientDisconnected(*self.lost.args)
        error.__cause__ = self.lost.__cause__
        return error


def too_large(name: str, size: int, most: int, where: str) -> MessageTooLarge:
    """Return the error for a message that is not sent, since the server would close the connection for it."""
    return MessageTooLarge(
        f'{name} makes a message of {size:,} bytes, and the server {where} takes {most:,} bytes at most: store smaller objects '
        '(a large file as a Blob, which is sent in pieces), or set a larger max-message-size in the <zeo> section of the server')


def _wake(waiting: _Waiting) -> None:
    if waiting.lock is not None:
        try:
            waiting.lock.release()
        except RuntimeError:   # woken already, and on its way
            pass
