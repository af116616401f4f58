"""Why a replica does not follow a server.

Enters: nothing. Leaves: the exception that says so. Fails: never.
"""

from __future__ import annotations

from ZODB.POSException import StorageError


class NotFollowed(StorageError):
    """The server has something that this replica must not take, or lacks something that it has."""
