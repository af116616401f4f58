"""Why a server cannot be used, and whether trying again may help.

Enters: what connecting to an address has failed with. Leaves: the same with the address in its
text; whether it is a refusal. Fails: never.
"""

from __future__ import annotations

from ZODB.POSException import ReadOnlyError

from ZEO.Exceptions import AuthError, ClientDisconnected, ClientStorageError, ProtocolError
from ZEO.net.addresses import Address, show
from ZEO.net.tls_errors import TlsCut, TlsError

#: What may be wrong when a server says nothing.
ASK_BOTH_ENDS = 'Is a ZEO server listening there, and is TLS on (or off) at both ends?'


def not_greeted(error: ClientDisconnected) -> ClientDisconnected:
    """Return the error of a connection without a greeting, with what may be wrong."""
    if not isinstance(error.__cause__, ClientStorageError):  # its text says what is wrong
        error.args = (f'{error}. {ASK_BOTH_ENDS}',)
    return error


def is_refusal(error: BaseException) -> bool:
    """Return whether trying again can't help."""
    if isinstance(error, ClientDisconnected):
        return _says_no(error.__cause__)
    return isinstance(error, (ReadOnlyError, AuthError, ClientStorageError))


def _says_no(cause: BaseException | None) -> bool:
    """Whether a connection has ended by what its server says, and not by a network that fails."""
    return isinstance(cause, (ProtocolError, TlsError)) and not isinstance(cause, TlsCut)


def with_address(error: BaseException, address: Address) -> BaseException:
    """Return the error of a connection, with the address in its text."""
    if isinstance(error, ClientDisconnected) and _says_no(error.__cause__):
        return type(error.__cause__)(str(error))
    if isinstance(error, OSError):
        return OSError(f'{show(address)}: {error.strerror or error}')
    return error
