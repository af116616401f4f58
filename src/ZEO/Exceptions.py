"""The errors of this package, by whose fault they are.

Enters: nothing. Leaves: the classes that the rest of the package raises. Fails: never.

Applications catch the storage errors (:class:`ClientStorageError` and below);
:class:`ConfigurationError` is for the operator who wrote a command line or a configuration file.
"""

from __future__ import annotations

import transaction.interfaces
from ZODB.POSException import StorageError


class ClientStorageError(StorageError):
    """Something went wrong between a client and its server."""


class ClientDisconnected(ClientStorageError, transaction.interfaces.TransientError):
    """There is no connection to the server, or it was lost.

    Trying the transaction again later may succeed.
    """


class AuthError(StorageError):
    """The server denies what a client wants: a storage, a call, or to be the user that it names.

    Or a client refuses a server that does not prove that it knows the client's password.
    """


class ProtocolError(ClientStorageError):
    """The peer broke the wire protocol, or speaks another one."""


class UnrecognizedResult(ProtocolError):
    """The server answered a call with something that is not an answer to it."""


class MessageTooLarge(ClientStorageError):
    """A message is larger than the server accepts, so it was not sent.

    Trying again does not help.
    """


class ServerException(ClientStorageError):
    """The server failed with an exception whose class this client does not have.

    The text says which, and where.
    """


class StaleServerError(ClientStorageError):
    """The server is older than what this client has already seen (restored from a backup?)."""


class ConfigurationError(ValueError):
    """A command line, a configuration or an argument is wrong.

    The text says what, and what to do about it.
    """

    #: The exit status of a command: trying again changes nothing.
    exit_status = 2


class Unavailable(ConfigurationError):
    """What a server needs for its start is not there now; the same start may succeed later."""

    #: The exit status of a command: supervisors try again, unless they are configured otherwise.
    exit_status = 1
