"""What a client has the server do at length is done in slices, and others are served in between."""

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64, z64

from support.clock import Clock
from support.in_memory import Client
from ZEO.StorageServer import StorageServer

TICK = 0.0001  # seconds that pass whenever the server looks at its clock


class Ticking(Clock):
    """A clock whose time passes as it is looked at."""

    def now(self):
        self.time += TICK
        return self.time


@pytest.fixture
def server(socket_path):
    server = StorageServer(socket_path, {'1': MappingStorage()}, system=Ticking())
    yield server
    server.close()


def test_a_commit_of_a_hundred_objects_holds_others_for_two_milliseconds_at_most(server):
    committer, other = Client(server), Client(server)
    committer.give(committer.send('tpc_begin', 1, b'', b'', b'', None, ' '))
    for number in range(100):
        committer.give(committer.send('storea', p64(number + 1), z64, b'x', 1))
    committer.channel.sent.clear()
    clock, waits = committer.loop.system, []
    committer.peer.handle(committer.messages(committer.call('vote', 1)))
    while not committer.channel.sent:
        begun = clock.time
        other.peer.handle(other.messages(other.call('ping')))
        committer.loop.run_once(None)  # None: it does not wait as long as there is something to do
        waits.append(clock.time - begun)
    assert len(waits) > 3 and max(waits) < 0.002
