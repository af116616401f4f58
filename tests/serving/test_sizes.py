"""Sizes that are dear to find come late, and only to those who have committed or come."""

import gc
import weakref

import pytest
from ZODB.MappingStorage import MappingStorage

from support.clock import Clock
from support.in_memory import Client
from ZEO.net.loop import Loop
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.options import ServingOptions
from ZEO.serving.sizes import CHEAP, LONG, LOOKS, SIZES_SHARE
from ZEO.serving.workers import Workers
from ZEO.wire.messages import codec


class Sized(MappingStorage):
    """Looking takes as long as is said."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.cost, self.size, self.looks = clock, 0.0, 1, 0
        self.costs = None  # how many looks still take that long; None: all

    def getSize(self):
        self.looks += 1
        if self.costs is None or self.costs > 0:
            self.clock.time += self.cost
        if self.costs is not None:
            self.costs -= 1
        return self.size


class Peer:
    """Remembers what it was sent."""

    codec = codec(b'Z5')

    def __init__(self):
        self.sizes = []

    def push(self, data):
        self.sizes.append(self.codec.decode(data[4:])[3][0]['size'])


@pytest.fixture
def hosted():
    clock = Clock()
    loop = Loop(clock)
    yield HostedStorage('1', Sized(clock), loop, Workers(loop), ServingOptions())
    loop.close()


def test_cheap_ones_are_always_new(hosted):
    peer = Peer()
    for hosted.storage.size in (1, 2, 3):
        hosted.sizes.send(peer)
    assert peer.sizes == [1, 2, 3]


@pytest.mark.parametrize('looks', [1, LOOKS - 1])
def test_looks_that_took_long_by_chance_make_them_not_dear(hosted, looks):
    """Another process had the processor, or the memory of a new one was still to be found."""
    peer = Peer()
    for hosted.storage.size, hosted.storage.costs in ((1, 0), (2, looks), (3, 0)):
        hosted.storage.cost = 10 * CHEAP
        hosted.sizes.send(peer)
    assert peer.sizes == [1, 2, 3]


def test_a_look_that_takes_very_long_is_not_repeated(hosted):
    hosted.storage.cost = 2 * LONG
    hosted.sizes.send(Peer())
    assert hosted.storage.looks == 1


def test_dear_ones_come_late_to_who_is_owed_them(hosted):
    committer, reader = Peer(), Peer()
    for peer in (committer, reader):
        hosted.peers.join(peer, b'Z5', None)
    hosted.storage.cost = 10 * CHEAP
    for hosted.storage.size in (1, 2, 3):
        hosted.sizes.send(committer)
    assert committer.sizes == [1, 1, 1]
    hosted.loop.system.time += 10 * CHEAP * SIZES_SHARE
    hosted.loop.run_once(0)
    assert committer.sizes == [1, 1, 1, 3]
    assert reader.sizes == []
    hosted.storage.size = 4
    hosted.sizes.send(committer)
    hosted.loop.system.time += 10 * CHEAP * SIZES_SHARE
    hosted.loop.run_once(0)
    assert committer.sizes == [1, 1, 1, 3, 3, 4]


def test_who_is_gone_is_not_told(hosted):
    committer = Peer()
    hosted.storage.cost = 10 * CHEAP
    hosted.sizes.send(committer)
    hosted.sizes.send(committer)
    hosted.loop.system.time += 1
    hosted.loop.run_once(0)
    assert committer.sizes == [1, 1]


def test_a_thousand_who_connect_cost_one_look(hosted):
    hosted.storage.cost = 10 * CHEAP
    peers = [Peer() for _ in range(1000)]
    began = hosted.loop.system.time
    for peer in peers:
        hosted.peers.join(peer, b'Z5', None)
        assert hosted.info(peer)['size'] == 1
    looks = (hosted.loop.system.time - began) / hosted.storage.cost
    assert round(looks) == LOOKS  # the first one is made sure of
    hosted.storage.size = 2
    hosted.loop.system.time += 10 * CHEAP * SIZES_SHARE
    hosted.loop.run_once(0)
    assert {tuple(peer.sizes) for peer in peers[1:]} == {(2,)}


class Server:
    """Serves one storage, to clients that are peers."""

    def __init__(self, hosted):
        self.hosted = {'1': hosted}


def test_who_is_gone_is_not_kept(hosted):
    hosted.storage.cost = 10 * CHEAP
    staying, gone = Client(Server(hosted)), Client(Server(hosted))
    for client in (staying, gone):
        client.give(client.call('get_info'))
    kept = weakref.ref(gone.peer)
    gone.peer.closed('done')
    del gone, client
    gc.collect()
    assert kept() is None


def test_who_comes_and_goes_again_and_again_costs_one_timer_and_no_look(hosted, monkeypatch):
    hosted.storage.cost = 10 * CHEAP
    hosted.info(Peer())
    timers, later = [], hosted.loop.later

    def noted(seconds, function):
        if function == hosted.sizes._send_late:
            timers.append(seconds)
        return later(seconds, function)

    monkeypatch.setattr(hosted.loop, 'later', noted)
    for _ in range(100):
        client = Client(Server(hosted))
        client.give(client.call('get_info'))
        client.peer.closed('done')
    assert len(timers) == 1
    began = hosted.loop.system.time = hosted.loop.system.time + 10 * CHEAP * SIZES_SHARE
    hosted.loop.run_once(0)
    assert hosted.loop.system.time == began


def test_a_commit_that_outlives_its_client_keeps_nothing(hosted):
    hosted.storage.cost = 10 * CHEAP
    gone = Peer()
    kept = weakref.ref(gone)
    for _ in range(2):
        hosted.sizes.send(gone)
    del gone
    assert kept() is None
