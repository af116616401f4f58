"""ZODB's database and connection, to which ``with`` gives an end.

Enters: what ZODB's own classes take. Leaves: the same, closed at the end of a block, however that
ends. Fails: as those do.
"""

from __future__ import annotations

from typing import Any

import ZODB.Connection
from ZODB.DB import DB, ContextManager


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


class _Transaction(ContextManager):
    """The block of :meth:`Database.transaction`.

    ZODB's own does not close the connection of a commit that fails. It is lost to the pool then,
    and its storage stays with the database, which notes there what every transaction has changed.
    """

    conn: Connection | None = None

    def __enter__(self) -> Connection:
        try:
            return super().__enter__()
        except BaseException:  # the connection is open already where the server does not answer
            self._give_back()
            raise

    def __exit__(self, *exception: Any) -> None:
        try:
            super().__exit__(*exception)
        finally:
            self._give_back()

    def _give_back(self) -> None:
        if self.conn is not None and self.conn.opened is not None:
            try:
                self.tm.abort()
            finally:
                self.conn.close()


class Database(DB):
    """``with`` closes the database."""

    klass = Connection

    def transaction(self, note: str | None = None) -> ContextManager:
        """Return a context manager: a connection, whose changes are committed at the end of the
        block, or given up after an exception; it is closed then, also where the commit fails.

        :param note: a description of the transaction.
        """
        return _Transaction(self, note)

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
