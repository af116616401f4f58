"""Several client processes on one server that is killed again and again: no snapshot of any client
is ever wrong.
"""

import time

import pytest
import transaction
import ZODB

from support import jsonlines, mover
from support.children import SideProcess
from support.sides import OURS

#: Seconds of work, and between two kills of the server.
WORK, BETWEEN_KILLS = 12.0, 2.5

CLIENTS = 4


@pytest.mark.slow
def test_sums_hold_in_every_snapshot_of_every_client(sockets, clients, tmp_path):
    """Moves between accounts, with conflicts, evictions, lost connections, and a server that is
    killed and started again.

    What a client was told is committed is there after every kill; what it was not told is there as
    a whole or not at all.
    """
    address = sockets()
    command = ['python', '-m', 'ZEO.start', '-U', address, str(tmp_path / 'data.fs')]
    server = SideProcess(OURS, command)
    names = [f'client {number}' for number in range(CLIENTS)]
    connection = ZODB.DB(clients(address)).open()
    mover.prepare(connection, names)
    workers = [
        SideProcess(
            OURS,
            [
                'python',
                '-m',
                'support.mover',
                address,
                name,
                str(WORK),
                *([str(tmp_path / f'{number}.zec')] if number % 2 else []),
            ],
        )
        for number, name in enumerate(names)
    ]
    try:
        end = time.monotonic() + WORK
        while time.monotonic() < end:
            time.sleep(BETWEEN_KILLS)  # work that the kill interrupts
            server.kill()
            server = SideProcess(OURS, command)
        figures = [_figures(worker) for worker in workers]
        _reach(connection)
        assert mover.total(connection) == mover.ACCOUNTS * mover.AMOUNT
        counts = [connection.root()['moves'][name]['count'] for name in names]
        assert counts == [figure['count'] for figure in figures]
        assert all(figure['moves'] and figure['losses'] for figure in figures), figures
    finally:
        transaction.abort()
        for process in [*workers, server]:
            process.kill()


def _figures(worker):
    line = worker.output.line(40)
    assert line, worker.errors.seen
    return jsonlines.loads(line)


def _reach(connection):
    """Have the connection see what was committed last."""
    while not connection.db().storage.is_connected(test=True):
        pass
    connection.sync()
