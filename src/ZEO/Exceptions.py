"""Every error of ours, by whose fault it is.

Nothing enters or leaves here: these are the classes that the rest of the package raises. What
applications catch are the storage errors (:class:`ClientStorageError` and below);
:class:`ConfigurationError` speaks to the operator who wrote a command line or a configuration file.
"""

from __future__ import annotations

import transaction.interfaces
from ZODB.POSException import StorageError


class ClientStorageError(StorageError):
    """Something went wrong between a client and its server."""


class ClientDisconnected(ClientStorageError, transaction.interfaces.TransientError):
    """There is no connection to the server, or it was lost; trying the transaction again later may
    succeed.
    """


class AuthError(StorageError):
    """The server did not accept who the client says it is."""


class ProtocolError(ClientStorageError):
    """The other side broke the wire protocol, or speaks another one."""


class UnrecognizedResult(ProtocolError):
    """The answer of the server to a call is not one."""


class MessageTooLarge(ClientStorageError):
    """A message is larger than the server takes, so that it was not sent; trying again does not
    help.
    """


class ServerException(ClientStorageError):
    """The server failed with an exception that has no class on this side; the text says which and
    where.
    """


class StaleServerError(ClientStorageError):
    """The server is older than what this client has already seen (restored from a backup?)."""


class ConfigurationError(ValueError):
    """What an operator wrote is wrong; the message says what, and what to do about it."""

    #: With which a command ends: trying again changes nothing.
    exit_status = 2


class Unavailable(ConfigurationError):
    """What a server needs for its start is not there now; the same start may succeed later."""

    #: With which supervisors try again, where they are not told otherwise.
    exit_status = 1
