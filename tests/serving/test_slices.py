"""What a client has the server do at length is done in slices, and others are served in between."""

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, z64

from support.clock import Clock
from support.in_memory import Client
from ZEO.serving.slices import Slice
from ZEO.StorageServer import StorageServer

TICK = 0.0001  # seconds that pass whenever the server looks at its clock
LONGEST = 0.002  # seconds for which one client may hold the others
OIDS = [p64(number + 1) for number in range(100)]


class Ticking(Clock):
    """A clock whose time passes as it is looked at."""

    def now(self):
        self.time += TICK
        return self.time


@pytest.fixture
def client(socket_path):
    """One that has begun to store a hundred objects; as long as `wait` is true, others wait."""
    server = StorageServer(socket_path, {'1': MappingStorage()}, system=Ticking())
    client = Client(server)
    client.wait = True
    client.loop.others_wait = lambda: client.wait
    client.give(client.send('tpc_begin', 1, b'', b'', b'', None, ' '))
    for oid in OIDS:
        client.give(client.send('storea', oid, z64, b'x', 1))
    client.channel.sent.clear()
    yield client
    server.close()


def answers(client, request):
    """Return the answers to calls that come at once, and how long the turn of each of the loop, and
    of the client, took.
    """
    clock, turns, messages, is_done = client.loop.system, [], client.messages(request), False
    while not (is_done and client.channel.sent):
        if not is_done:
            begun = clock.time
            is_done = client.peer.handle(messages)
            turns.append(clock.time - begun)
        begun = clock.time
        client.loop.run_once(0.0)
        turns.append(clock.time - begun)
    return [args for _, _, _, args in client.sent()], turns


def commit(client):
    client.wait = False
    answers(client, client.call('vote', 1))
    answers(client, client.call('tpc_finish', 1))
    client.wait = True


def test_a_commit_of_many_objects(client):
    _, turns = answers(client, client.call('vote', 1))
    assert len(turns) > 10 and max(turns) < LONGEST


def test_where_nobody_waits_it_is_stored_in_fewer_turns(client):
    client.wait = False
    _, turns = answers(client, client.call('vote', 1))
    assert len(turns) < 5


@pytest.mark.parametrize('wait', [True, False])
def test_many_objects_are_loaded_in_several_answers_if_others_wait(client, wait):
    commit(client)
    client.wait, found, longest = wait, [], 0.0
    while len(found) < 100:
        ((records,), turns) = answers(client, client.call('load_many', OIDS[len(found) :], maxtid))
        assert records
        found += records
        longest = max(longest, *turns)
        if not wait:
            assert len(found) == 100
    assert [data for data, _, _ in found] == [b'x'] * 100
    assert not wait or longest < LONGEST


@pytest.mark.parametrize('wait', [True, False])
def test_an_iteration_comes_in_smaller_batches_if_others_wait(client, wait):
    commit(client)
    client.wait, found, longest, ended, batches = wait, [], 0.0, False, 0
    ((number,), _) = answers(client, client.call('iterator_start', None, None))
    while not ended:
        (((parts, ended),), turns) = answers(client, client.call('iterator_batch', number))
        found += [oid for _, records, _ in parts for oid, _, _, _ in records]
        longest = max(longest, *turns)
        batches += 1
    assert sorted(found) == OIDS
    assert batches > 5 and longest < LONGEST if wait else batches == 1


def test_clients_that_take_turns_share_the_time_of_one(client):
    client.wait, loop = False, client.loop
    for _ in range(20):
        loop.next_turn(lambda: None)
    one, clock = Slice(loop, loop.slice()), loop.system
    begun = clock.time
    while not one.is_over():
        pass
    assert clock.time - begun < 0.001


def test_calls_that_come_at_once(client):
    replies, turns = answers(client, b''.join(client.call('ping') for _ in range(100)))
    assert len(replies) == 100 and len(turns) > 2 and max(turns) < LONGEST
