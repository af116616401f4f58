"""A client under stress that uses a RelStorage without a server: ``python -m support.stress.direct
OPTIONS``.

Enters: as for :mod:`support.stress.worker`, with the section of the storage as ``section``. Leaves
and fails: as that does.
"""

from __future__ import annotations

import sys

import psycopg2
import transaction
import ZODB
from ZODB.config import storageFromString

from support.stress.worker import Worker, main
from ZEO.Exceptions import ClientDisconnected


class DirectWorker(Worker):
    """One RelStorage, and one connection of a database on it."""

    def is_loss(self, error: Exception) -> bool:
        # the latter is RelStorage's, when it cannot clean up with a connection that is lost
        return isinstance(error, (psycopg2.Error, ClientDisconnected)) or type(error) is Exception

    def open(self) -> None:
        self.storage = storageFromString(self.options['section'])
        self.manager = transaction.TransactionManager(explicit=True)
        self.connection = ZODB.DB(self.storage, cache_size=10).open(self.manager)
        instance = self.connection._storage
        self._finish, instance.tpc_finish = instance.tpc_finish, self._finishing

    def snapshot(self) -> bytes:
        return self.connection._storage.lastTransaction()

    def _ping(self) -> bool:
        # it polls the database at the beginning of each transaction
        self.recorder.round_trip(lambda: None)
        return True


if __name__ == '__main__':
    main(sys.argv[1], DirectWorker)
