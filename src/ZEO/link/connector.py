"""Finding a usable server: addresses side by side, retries with back-off, read-only as a fallback.

Enters: addresses, and what to register for. Leaves: a connection that is registered, with a checked
cache. Fails: :class:`Refused` when every address has a server and none will have us;
:class:`Unreachable` when none is usable right now.

Connecting and the greeting run side by side, in a thread for each address; registration and the
cache check one after the other, in the caller's thread, so that no two servers ever have us at
once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ZODB.POSException import ReadOnlyError

from ZEO.Exceptions import ClientDisconnected, ClientStorageError, ProtocolError, StaleServerError
from ZEO.link import verify
from ZEO.link.connection import Connection
from ZEO.link.options import Registration
from ZEO.link.state import ClientState
from ZEO.net import stream
from ZEO.net.addresses import Address, show
from ZEO.net.system import Empty, System
from ZEO.net.tls_errors import TlsError
from ZEO.wire.extensions import EXTENSIONS, MESSAGE_SIZE, RESOLVES

log = logging.getLogger('ZEO.ClientStorage')

#: Seconds that one address may take to accept a connection and to greet us: less than a server
#: waits for a TLS handshake, so that a client without TLS can say what may be wrong.
GREETING = 8.0

#: Seconds after which those addresses are given up of which nothing was heard, such as that their
#: name can't be looked up.
LONGEST = 60.0


class Unreachable(Exception):
    """No server is usable now; later one may be."""


class Refused(Exception):
    """Every server refuses; `error` is what the application is to see."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Connected:
    """A usable connection."""

    connection: Connection
    address: Address
    read_only: bool  # by the server's word, not by our wish
    info: dict[str, Any]
    cache_dropped: bool


class _Early:
    """Keeps the one-way messages of a connection that is not in use yet, for the one who may apply
    them.

    An invalidation in front of the answer to `register` would move this client past all that it has
    missed.
    """

    def __init__(self, events: Any) -> None:
        self._events = events
        self._kept: list[tuple[str, Any]] | None = []  # None once they are passed on

    def on_message(self, name: str, args: Any) -> None:
        if self._kept is None:
            self._events.on_message(name, args)
        else:
            self._kept.append((name, args))

    def on_lost(self, connection: Connection, reason: str) -> None:
        self._events.on_lost(connection, reason)

    def pass_on(self) -> None:
        """The state holds invalidations back by itself from now on."""
        kept, self._kept = self._kept or [], None
        for name, args in kept:
            self._events.on_message(name, args)


class Attempt:
    """One round over all addresses."""

    def __init__(
        self,
        wanted: Registration,
        state: ClientState,
        events: Any,
        system: System,
        still_wanted: Callable[[], bool],
        retire: Callable[[], None],
    ) -> None:
        self._wanted = wanted
        self._state = state
        self._events = events
        self._system = system
        self._still_wanted = still_wanted  # False once the client was closed
        # ends the connection that the new one replaces, before the cache check
        self._retire = retire

    def run(self, addresses: list[Address], writable_only: bool = False) -> Connected:
        """Return the first usable server's connection.

        :param writable_only: do not fall back to reading only.
        :raises Unreachable: when there is none.
        :raises Refused: when all refuse.
        """
        greeted = self._system.queue()
        for address in addresses:
            try:
                self._system.spawn(
                    f'ZEO connecting to {show(address)}', self._greet, address, greeted
                )
            except RuntimeError:  # no thread to be had: one address after the other, then
                self._greet(address, greeted)
        errors: list[BaseException] = []
        only_readable: list[tuple[Address, Connection]] = []
        found: Connected | None = None
        for still_to_come in reversed(range(len(addresses))):
            try:
                address, result = greeted.get(timeout=LONGEST)
            except Empty:
                errors.append(OSError(f'no connection to any address within {LONGEST:.0f} s'))
                break
            if isinstance(result, BaseException):
                errors.append(result)
            elif not self._still_wanted():
                _discard(result)
            else:
                found = self._try(address, result, self._wanted.read_only, errors, only_readable)
            if found is not None:
                if still_to_come:  # some address may take its whole time to be found dead
                    self._discard_later(greeted, still_to_come)
                break
        for address, connection in only_readable:
            if found is None and not writable_only and self._still_wanted():
                found = self._try(address, connection, True, errors, [])
            else:
                _discard(connection)
        if found is not None:
            return found
        raise self._failure(errors)

    def _discard_later(self, greeted: Any, count: int) -> None:
        try:
            self._system.spawn('ZEO connecting in vain', _discard_rest, greeted, count)
        except RuntimeError:
            # no thread to be had: the server gives up strangers that don't register
            pass

    def _greet(self, address: Address, greeted: Any) -> None:
        """In a thread of its own: connect and wait for the greeting."""
        try:
            link = stream.connect(
                address, GREETING, self._wanted.ssl, self._wanted.ssl_server_hostname
            )
            connection = Connection(
                link,
                show(address),
                _Early(self._events),
                self._wanted.message_size,
                self._system,
                self._wanted.timeout,
            )
            connection.who = f'{self._wanted.who}: {connection.where}'
            try:
                connection.greet(self._system.now() + GREETING)
            except BaseException:
                _discard(connection)
                raise
        # The thread's boundary: whatever went wrong is told by whoever waits for it.
        except BaseException as error:
            greeted.put((address, _with_address(error, address)))
        else:
            greeted.put((address, connection))

    def _try(
        self,
        address: Address,
        connection: Connection,
        read_only: bool,
        errors: list[BaseException],
        only_readable: list[tuple[Address, Connection]],
    ) -> Connected | None:
        """Register; a server that lets us only read is remembered, where that may do."""
        wanted = self._wanted
        try:
            return self._register(address, connection, read_only)
        except ReadOnlyError as error:
            if wanted.fallback and not read_only:
                only_readable.append((address, connection))
                return None
            errors.append(
                ReadOnlyError(*error.args)
                if error.args
                else ReadOnlyError(
                    f'{connection.where}: the storage {wanted.storage!r} can only be read: open it '
                    'with read_only=True'
                )
            )
        except ValueError as error:
            errors.append(ClientStorageError(f'{connection.where}: {error}'))
        except ClientStorageError as error:
            errors.append(error)
        # What a server fails with while we check the cache is one more reason to try another.
        except Exception as error:
            log.exception('%s: connecting failed', connection.who)
            errors.append(
                ClientDisconnected(f'{connection.where}: {type(error).__name__}: {error}')
            )
        except BaseException:
            _discard(connection)
            raise
        _discard(connection)
        return None

    def _register(self, address: Address, connection: Connection, read_only: bool) -> Connected:
        wanted, state = self._wanted, self._state
        tid = connection.call('register', (wanted.storage, read_only))
        self._retire()
        state.hold()
        connection.events.pass_on()
        if not isinstance(tid, bytes):  # older servers
            tid = connection.call('lastTransaction', ())
        info = connection.call('get_info', ())
        connection.largest = min(connection.largest, info.get(MESSAGE_SIZE) or connection.largest)
        connection.read_only = read_only
        label = wanted.label
        if RESOLVES in info.get(EXTENSIONS, ()):
            label += f'\n{RESOLVES}'
        if label:
            connection.send('set_client_label', (label,))
            connection.flush()  # for the server's log: the next call may be a long time off
        dropped = verify.check(
            state, connection, tid, wanted.drop_cache_if_older, wanted.drop_cache_rather_verify
        )
        state.info = info
        state.release()
        return Connected(connection, address, read_only and not wanted.read_only, info, dropped)

    def _failure(self, errors: list[BaseException]) -> Exception:
        """All refused for good: that error; else one text for everything that was tried."""
        final = [error for error in errors if _is_refusal(error)]
        if final and len(final) == len(errors):
            return Refused(final[0])
        return Unreachable('; '.join(dict.fromkeys(map(str, errors))) or 'the client was closed')


def _is_refusal(error: BaseException) -> bool:
    """Whether trying again can't help."""
    if isinstance(error, ClientDisconnected):
        return isinstance(error.__cause__, (ProtocolError, TlsError))
    return isinstance(error, (ReadOnlyError, StaleServerError, ClientStorageError))


def _with_address(error: BaseException, address: Address) -> BaseException:
    if isinstance(error, ClientDisconnected) and isinstance(
        error.__cause__, (ProtocolError, TlsError)
    ):
        return type(error.__cause__)(str(error))
    if isinstance(error, OSError):
        return OSError(f'{show(address)}: {error.strerror or error}')
    return error


def _discard_rest(greeted: Any, count: int) -> None:
    """In a thread of its own: let those go that greet after one was found."""
    for _ in range(count):
        _, result = greeted.get(timeout=LONGEST)
        if isinstance(result, Connection):
            _discard(result)


def _discard(connection: Connection) -> None:
    connection.lose('not needed')
    connection.free()
