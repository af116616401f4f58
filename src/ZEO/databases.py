"""ZODB's database and connection, to which ``with`` gives an end.

Enters: what ZODB's own classes take. Leaves: the same, closed at the end of a block. Fails: as
those do.
"""

from __future__ import annotations

from typing import Any

import ZODB.Connection
from ZODB.DB import DB


class Connection(ZODB.Connection.Connection):
    """``with`` commits what was changed, or gives it up after an exception, and closes the
    connection.
    """

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: Any, *exception: object) -> None:
        try:
            if kind is None and self.opened is not None:
                self.transaction_manager.commit()
        finally:
            if self.opened is not None:  # unless it was closed inside
                self.transaction_manager.abort()
                self.close()


class Database(DB):
    """``with`` closes the database."""

    klass = Connection

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def over(storage: Any) -> Database:
    """Return a database over a storage, which is closed when that fails.

    :raises ConflictError: when there is no root yet, and another client makes it as well.
    """
    try:
        return Database(storage)
    except BaseException:
        storage.close()
        raise
