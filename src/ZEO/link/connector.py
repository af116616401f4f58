"""Finding a usable server: all addresses side by side, the read-only ones last.

Enters: addresses, and what to register for. Leaves: connections that are registered, one after the
other; each of them up to date once :mod:`ZEO.link.introducing` has checked the cache. Fails:
:class:`Refused` when every address has a server and each refuses this client; :class:`Unreachable`
when none is usable right now.

Connecting and the greeting run side by side, in a thread for each address. Registration and the
cache check run one after the other, in the caller's thread, so that this client is never registered
with two servers at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ZODB.POSException import ReadOnlyError

from ZEO.Exceptions import AuthError, ClientDisconnected, ClientStorageError
from ZEO.link.connection import Connection
from ZEO.link.held import HeldMessages
from ZEO.link.options import Registration
from ZEO.link.reasons import is_refusal, with_address
from ZEO.net import stream
from ZEO.net.addresses import Address, show
from ZEO.net.system import Empty, System

log = logging.getLogger('ZEO.ClientStorage')

#: Seconds that one address may take to accept a connection and to send its greeting: less than a
#: server waits for a TLS handshake, so that a client without TLS can say what may be wrong.
GREETING = 8.0

#: Seconds after which those addresses are given up of which nothing was heard, for example because
#: looking up the name takes too long.
LONGEST = 60.0

#: Seconds between two looks whether the threads that connect are still there.
LOOK_AGAIN = 1.0


class Unreachable(Exception):
    """No server is usable now; later one may be."""


class Refused(Exception):
    """Every server refuses; `error` is what the application is to see."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Registered:
    """A connection whose server has registered this client.

    :param tid: what the server answered: its last transaction; older servers answer something else.
    :param read_only: whether the client has registered for reading only.
    :param is_fallback: whether it will do only until a better server is found.
    """

    connection: Connection
    tid: Any
    read_only: bool
    is_fallback: bool


class EarlyMessages:
    """Takes the one-way messages of a connection; keeps those that come before its server has
    registered this client.

    :param events: takes all of them afterwards, and the connection's end from the start.
    """

    def __init__(self, events: Any) -> None:
        self._events = events
        self._held = HeldMessages()
        #: A message has come; called by the thread that reads the connection. There may be very
        #: many, so nothing stands between it and who takes them once they are passed on.
        self.on_message: Callable[[str, Any], None] = self._held.add

    def on_lost(self, connection: Connection, reason: str) -> None:
        """The connection has ended."""
        self._events.on_lost(connection, reason)

    def pass_on(self) -> None:
        """The client state holds invalidations back by itself from now on."""
        self.on_message = self._events.on_message
        for name, args in self._held.take():
            self.on_message(name, args)


class ConnectRound:
    """One round over all addresses.

    :param events: takes what the connections receive; see :class:`Connection`.
    """

    def __init__(self, wanted: Registration, events: Any, system: System) -> None:
        self.is_cancelled = False  # set by the thread that closes the client
        self._wanted = wanted
        self._events = events
        self._system = system
        self._greetings = system.queue()  # of connections, and errors
        self._awaited = 0  # addresses of which nothing was heard yet
        self._connecting: list[Any] = []  # the threads
        self._read_only: list[Connection] = []  # may do for reading, if there is no better one
        self._errors: list[BaseException] = []

    def registered(self, addresses: list[Address], better_only: bool) -> Iterator[Registered]:
        """Yield one server after the other that has registered this client.

        The caller uses the one that it got last, or gives it to :meth:`reject` and goes on.

        :param better_only: do not fall back to a server that will do: one is connected.
        """
        self._connect(addresses)
        for connection in self._greeted():
            if self._has_proved(connection):
                yield from self._register(connection, self._wanted.read_only)
        while self._read_only and not better_only and not self.is_cancelled:
            yield from self._register(self._read_only.pop(0), True)

    def reject(self, connection: Connection, error: Exception) -> None:
        """Note why a server can't be used, and let go of it; called while `error` is handled."""
        self._errors.append(self._as_reason(connection, error))
        discard(connection)

    def failure(self) -> Exception:
        """Return :class:`Refused` when all servers refuse for good; else :class:`Unreachable`, with
        one text for everything that was tried.
        """
        final = [error for error in self._errors if is_refusal(error)]
        if final and len(final) == len(self._errors):
            return Refused(final[0])
        return Unreachable(
            '; '.join(dict.fromkeys(map(str, self._errors))) or 'the client was closed'
        )

    def end(self) -> None:
        """Let go of all connections that were not handed out."""
        while self._read_only:
            discard(self._read_only.pop())
        if self._awaited:  # some address may take its whole time to be found dead
            try:
                self._system.spawn('ZEO ending a late connect', self._discard_late)
            except RuntimeError:
                # no thread can be started: the servers end connections that do not register
                pass

    # Connecting and greeting.

    def _connect(self, addresses: list[Address]) -> None:
        for address in addresses:
            self._awaited += 1
            try:
                thread = self._system.spawn(
                    f'ZEO connecting to {show(address)}', self._greet, address
                )
            except RuntimeError:  # no thread can be started: one address after the other, then
                self._greet(address)
            else:
                self._connecting.append(thread)

    def _greet(self, address: Address) -> None:
        """Connect and wait for the greeting, in a thread of its own."""
        try:
            result: Connection | BaseException = self._connection_to(address)
        # The thread's boundary: what went wrong is raised in the thread that waits for it.
        except BaseException as error:
            result = with_address(error, address)
        self._greetings.put(result)

    def _connection_to(self, address: Address) -> Connection:
        wanted = self._wanted
        connection = Connection(
            stream.connect(address, GREETING, wanted.ssl, wanted.ssl_server_hostname, self._system),
            show(address),
            EarlyMessages(self._events),
            wanted.message_size,
            self._system,
            wanted.timeout,
        )
        connection.who = f'{wanted.who}: {connection.where}'
        try:
            connection.greet(GREETING)
        except BaseException:
            discard(connection)
            raise
        return connection

    def _greeted(self) -> Iterator[Connection]:
        """Yield connections in the order in which their servers greet."""
        while self._awaited:
            try:
                result = self._next()
            except Empty as error:
                self._errors.append(OSError(str(error)))
                return
            self._awaited -= 1
            if isinstance(result, BaseException):
                self._errors.append(result)
            elif self.is_cancelled:
                discard(result)
            else:
                yield result

    def _next(self) -> Connection | BaseException:
        """Wait for the next connection, or the next error.

        :raises Empty: when there is none in time, or the threads were torn away.
        """
        until = self._system.now() + self._longest()
        while True:
            left = until - self._system.now()
            at_work = any(thread.is_alive() for thread in self._connecting)
            try:  # where none is at work, all that they leave is there
                return self._greetings.get(timeout=max(0.0, min(left, LOOK_AGAIN * at_work)))
            except Empty:
                if not at_work:
                    raise Empty('connecting was interrupted') from None
                if left <= 0:
                    raise Empty(f'no connection to any address within {LONGEST:.0f} s') from None

    def _longest(self) -> float:
        """Return for how many seconds to wait for the next one."""
        return LONGEST

    def _discard_late(self) -> None:
        """Let go of those that greet after one was found; in a thread of its own."""
        for connection in self._greeted():
            discard(connection)

    # Registering.

    def _has_proved(self, connection: Connection) -> bool:
        """Prove who this client is, if it was told to; return whether the server may be used."""
        credentials = self._wanted.credentials
        try:
            if credentials is not None:
                credentials.prove(connection, self._system.now())
        except Exception as error:
            self.reject(connection, error)
            return False
        except BaseException:
            discard(connection)
            raise
        return True

    def _register(self, connection: Connection, read_only: bool) -> Iterator[Registered]:
        """Yield the connection if its server registers this client.

        A server that can only be read is kept for the end, where reading may do.
        """
        try:
            tid = connection.call('register', (self._wanted.storage, read_only))
        except ReadOnlyError as error:
            if self._wanted.fallback and not read_only:
                self._read_only.append(connection)
            else:
                self.reject(connection, error)
        except Exception as error:
            self.reject(connection, error)
        except BaseException:
            discard(connection)
            raise
        else:
            yield Registered(connection, tid, read_only, read_only and not self._wanted.read_only)

    def _as_reason(self, connection: Connection, error: Exception) -> BaseException:
        if isinstance(error, ReadOnlyError):
            return error if error.args else self._read_only_error(connection)
        if isinstance(error, AuthError):
            return AuthError(f'{connection.where}: {error}')
        if isinstance(error, ValueError):
            return ClientStorageError(f'{connection.where}: {error}')
        if isinstance(error, ClientStorageError):
            return error
        # Whatever a server fails with is one more reason to try another.
        log.exception('%s: connecting failed', connection.who)
        return ClientDisconnected(f'{connection.where}: {type(error).__name__}: {error}')

    def _read_only_error(self, connection: Connection) -> ReadOnlyError:
        return ReadOnlyError(
            f'{connection.where}: the storage {self._wanted.storage!r} can only be read: open it '
            'with read_only=True'
        )


def discard(connection: Connection) -> None:
    """End a connection that is not used."""
    connection.lose('not needed')
    connection.last_users.free()
