"""A client under stress: ``python -m support.mover ADDRESS NAME SECONDS [CACHE [STORAGE]]``.

It moves amounts between accounts, drops its own connection now and then, and checks in every
snapshot that nothing was lost or made up: the accounts' sum, and how often itself has moved
something. Standard output: one line with its figures. Fails with a traceback and status 1 when
something does not add up.
"""

from __future__ import annotations

import random
import sys
import time

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError

from support import jsonlines
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected

ACCOUNTS, AMOUNT = 20, 1000


def prepare(connection: ZODB.Connection.Connection, names: list[str]) -> None:
    """Make the accounts, and a counter for each client."""
    root = connection.root()
    root['accounts'] = PersistentMapping(
        {number: PersistentMapping(amount=AMOUNT) for number in range(ACCOUNTS)}
    )
    root['moves'] = PersistentMapping({name: PersistentMapping(count=0) for name in names})
    transaction.commit()


def total(connection: ZODB.Connection.Connection) -> int:
    """Return the sum of all accounts in the current snapshot."""
    return sum(account['amount'] for account in connection.root()['accounts'].values())


class Mover:
    """One client.

    :param address: of its server; of several, with commas between them.
    """

    def __init__(self, address: str, name: str, cache: str | None, storage: str = '1') -> None:
        self._random = random.Random(name)
        self._storage = ClientStorage(
            address.split(','),
            storage,
            wait_timeout=30,
            cache=cache,
            cache_size=8000,
            disconnect_poll=0.05,
        )
        self._connection = ZODB.DB(self._storage, cache_size=10).open()
        self._own = self._connection.root()['moves'][name]
        # what the counter may be; two numbers when a commit's outcome is not known
        self._known = {self._own['count']}
        # A server that is killed may leave a commit to the database, which is made after another
        # server was asked: until a commit of our own succeeds, from when on that one cannot.
        self._is_fleet = ',' in address
        self._may_come_late = False
        self.figures = {'moves': 0, 'conflicts': 0, 'losses': 0, 'checks': 0}

    def run(self, seconds: float) -> None:
        """Work for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self._once()
            except ConflictError:
                self.figures['conflicts'] += 1
                transaction.abort()
            except ClientDisconnected:
                self.figures['losses'] += 1
                transaction.abort()
        transaction.abort()

    def _once(self) -> None:
        if len(self._known) > 1:
            # behind the cache check of a new connection, which tells what became of the last commit
            self._storage.ping()
        self._connection.sync()
        self._check()
        if self._random.random() < 0.02:
            self._storage._server.connection.lose('the test says so')
        accounts = self._connection.root()['accounts']
        amount = self._random.randrange(1, 10)
        one, other = self._random.sample(range(ACCOUNTS), 2)
        accounts[one]['amount'] -= amount
        accounts[other]['amount'] += amount
        count = self._own['count'] + 1
        self._own['count'] = count
        self._known.add(count)  # as soon as it is tried it may succeed without our hearing of it
        try:
            transaction.commit()
        except ConflictError:
            if not self._may_come_late:
                self._known.discard(count)
            raise
        except ClientDisconnected:
            self._may_come_late = self._is_fleet
            raise
        self._known, self._may_come_late = {count}, False
        self.figures['moves'] += 1

    def _check(self) -> None:
        found = total(self._connection), self._own['count']
        if found[0] != ACCOUNTS * AMOUNT or found[1] not in self._known:
            raise AssertionError(
                f'in one snapshot the sum is {found[0]}, the counter {found[1]}, expected '
                f'{self._known}'
            )
        self._may_come_late = self._may_come_late and found[1] != max(self._known)
        self._known = {found[1], max(self._known)} if self._may_come_late else {found[1]}
        self.figures['checks'] += 1

    def close(self) -> None:
        """End the connection, once the outcome of the last commit is known."""
        while True:
            try:
                self._connection.sync()
                self._storage.ping()
                self._connection.sync()
                self._check()
                if not self._may_come_late:
                    break
                self._once()
            except (ClientDisconnected, ConflictError):
                transaction.abort()
        self.figures['count'] = self._own['count']
        self._storage.close()


def main(
    address: str, name: str, seconds: str, cache: str | None = None, storage: str = '1'
) -> None:
    """Work, and tell the figures."""
    mover = Mover(address, name, cache, storage)
    mover.run(float(seconds))
    mover.close()
    sys.stdout.buffer.write(jsonlines.dumps(mover.figures))


if __name__ == '__main__':
    main(*sys.argv[1:])
