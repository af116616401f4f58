"""The simulated world: the real server and clients in one thread, from a seed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import transaction
from ZODB.POSException import ConflictError

from support.simulation.roles import Client, Server
from support.simulation.scheduler import Hang
from support.simulation.world import World

#: Commits of each client.
COMMITS = 5


def append(world, name, done):
    """Return a program that appends to one list, with other clients."""

    def program(database):
        for number in range(COMMITS):
            while not attempt(database, (name, number)):
                pass
        done.append(name)

    return program


def attempt(database, item):
    manager = transaction.TransactionManager()
    connection = database.open(manager)
    try:
        root = connection.root()
        root['list'] = root.get('list', ()) + (item,)
        manager.commit()
        return True
    except ConflictError:
        manager.abort()
        return False
    finally:
        connection.close()


def history(seed, **options):
    """Run two clients; return the world, and what the database holds in the end."""
    with World(seed, traced=True, **options) as world:
        server, done = Server(world), []
        for name in ('one', 'two'):
            Client(world, name, append(world, name, done))
        world.run()
        storage = server.served.storages['1']
        data = storage.load(b'\0' * 8)[0]
        assert world.errors == []
        return world, done, data


def digest(seed):
    events = [clean(item) for item in history(seed)[0].trace]
    return hashlib.sha256(repr(events).encode()).hexdigest()


def clean(item):
    """Return an event without addresses in memory."""
    return tuple(part if isinstance(part, (int, float, str, bytes)) else '' for part in item)


def test_clients_commit_to_each_other():
    world, done, data = history(1)

    assert sorted(done) == ['one', 'two']
    assert b'two' in data
    assert b'one' in data
    assert world.now < 1010


def test_the_same_seed_is_the_same_history_to_the_byte():
    assert digest(3) == digest(3)


def test_other_seeds_are_other_histories():
    assert len({digest(seed) for seed in range(5)}) == 5


@pytest.mark.parametrize('hashing', ['1', '2'])
def test_a_history_is_the_same_in_every_process(hashing):
    found = subprocess.run(
        [sys.executable, __file__, '3'],
        env={
            **os.environ,
            'PYTHONHASHSEED': hashing,
            'PYTHONPATH': str(Path(__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert found.stdout.strip() == digest(3), found.stderr


def test_latency_takes_virtual_time():
    with World(1) as world:
        world.network.latency = (1.0, 1.0)
        Server(world)
        Client(world, 'far', lambda database: database.storage.ping())
        world.run()

    assert 1010 < world.now < 1040


def test_a_client_without_a_server_waits_for_as_long_as_it_was_told():
    with World(1) as world:
        client = Client(world, 'alone', lambda database: None, wait_timeout=20)
        world.run()

    assert 'no connection within 20 s' in str(client.thread.error)
    assert 1400 < world.now < 1440


def test_a_hang_tells_where_every_thread_is():
    with World(1) as world:
        Server(world)
        Client(world, 'waits', lambda database: world.current_process().system.event().wait())
        with pytest.raises(Hang) as found:
            world.run(longest=100)

    assert 'waits/main waits for an event' in str(found.value)
    assert 'test_world.py' in str(found.value)
    assert 'server/main waits for files' in str(found.value)


def test_a_killed_server_that_comes_back_is_found_again():
    with World(2) as world:
        server, done = Server(world), []
        Client(world, 'one', append(world, 'one', done))
        world.later(0.004, server.crash, 3.0)
        world.run()

    assert done == ['one'] or world.errors


if __name__ == '__main__':
    print(digest(int(sys.argv[1])))
