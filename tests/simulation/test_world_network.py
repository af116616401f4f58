"""The simulated network: streams in order, whatever happens to them."""

import errno

import pytest

from support.simulation.polls import Epoll, Poll
from support.simulation.sockets import CLOSED, READ, WRITE, Socket
from support.simulation.world import World
from ZEO.net import loop

WHERE = ('127.0.0.1', 9999)


class Pair:
    """A connection from the process `one` to the process `two`."""

    def __init__(self, world):
        self.world = world
        self.one, self.two = world.process('one'), world.process('two')
        self.listener = Socket(world.network, self.two)
        self.listener.bind(WHERE)
        self.listener.listen()

    def connected(self):
        socket = Socket(self.world.network, self.one)
        socket.settimeout(5)
        socket.connect(WHERE)
        socket.setblocking(False)
        return socket

    def wait(self, socket, events=READ, seconds=1000):
        poll = Poll(self.world.scheduler)
        poll.register(socket, events)
        return poll.poll(seconds * 1000)

    def accepted(self):
        self.wait(self.listener)
        return self.listener.accept()[0]

    def read(self, socket):
        """Read to the end of a stream."""
        data, buffer = bytearray(), bytearray(1000)
        while True:
            self.wait(socket)
            count = socket.recv_into(memoryview(buffer))
            if not count:
                return bytes(data)
            data += buffer[:count]


@pytest.fixture
def both():
    """Run two functions, each in a process of its own, over one connection; return results."""

    def run(client, server, seed=1, **options):
        with World(seed, **options) as world:
            pair = Pair(world)
            threads = [
                pair.one.start(lambda: client(pair, pair.connected()), 'main'),
                pair.two.start(lambda: server(pair, pair.accepted()), 'main'),
            ]
            world.run()
            for _, error in world.errors:
                raise error
            return [thread.result for thread in threads]

    return run


def send_all(pair, socket, data):
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[socket.send(rest) :]
        except BlockingIOError:
            pair.wait(socket, WRITE)


@pytest.mark.parametrize('seed', range(5))
def test_bytes_arrive_in_order_in_pieces_of_any_size(both, seed):
    data = bytes(range(256)) * 20

    def client(pair, socket):
        pair.world.network.room = 100
        socket.out.room = 700
        send_all(pair, socket, data)
        socket.close()

    _, found = both(client, lambda pair, socket: pair.read(socket), seed, pieces=0.7, switches=0.3)
    assert found == data


def test_a_full_buffer_takes_nothing(both):
    def client(pair, socket):
        socket.out.room = 10
        counts = [socket.send(b'123456'), socket.send(b'123456')]
        with pytest.raises(BlockingIOError):
            socket.send(b'1')
        return counts

    result, _ = both(client, lambda pair, socket: pair.world.scheduler.wait('a while', 1), pieces=0)
    assert result == [6, 4]


@pytest.mark.parametrize('after', [0, 1, 7, 10])
def test_a_connection_breaks_at_any_byte(both, after):
    def client(pair, socket):
        pair.world.network.reset('one', 'two', after)
        try:
            send_all(pair, socket, b'0123456789' * 2)
        except ConnectionResetError as error:
            return error.errno

    def server(pair, socket):
        with pytest.raises(ConnectionResetError):
            pair.read(socket)

    result, _ = both(client, server)
    assert result in (errno.ECONNRESET, None)


def test_what_is_sent_over_a_link_that_is_cut_arrives_when_it_is_healed(both):
    def client(pair, socket):
        pair.world.network.cut('one', 'two')
        pair.world.later(50, pair.world.network.heal, 'one', 'two')
        socket.send(b'late')
        socket.close()

    def server(pair, socket):
        return pair.read(socket), pair.world.now

    _, (data, now) = both(client, server)
    assert data == b'late'
    assert 1050 < now < 1051


def test_a_connection_over_a_link_that_stays_cut_is_given_up(both):
    def client(pair, socket):
        pair.world.network.cut('one', 'two')
        pair.wait(socket)
        with pytest.raises(OSError) as found:
            socket.recv(10)
        return found.value.errno, pair.world.now

    def server(pair, socket):
        pair.wait(socket)

    (code, now), _ = both(client, server)
    assert code == errno.ETIMEDOUT
    assert 1130 < now < 1140


def test_connecting_takes_no_longer_than_its_time_over_a_link_that_is_cut():
    with World(1) as world:
        pair = Pair(world)
        world.network.cut('one', 'two')
        thread = pair.one.start(pair.connected, 'main')
        world.run()

    assert isinstance(thread.error, TimeoutError)
    assert 1005 <= world.now < 1006


def test_connections_where_no_process_listens_are_refused():
    with World(1) as world:
        pair = Pair(world)
        pair.two.crash()
        thread = pair.one.start(pair.connected, 'main')
        world.run()

    assert isinstance(thread.error, ConnectionRefusedError)


def test_the_connections_of_a_killed_process_end(both):
    def client(pair, socket):
        pair.world.later(5, pair.two.crash)
        return pair.read(socket), pair.world.now

    def server(pair, socket):
        pair.wait(socket)

    (data, now), _ = both(client, server)
    assert data == b''
    assert 1005 < now < 1006


@pytest.mark.parametrize('back', [None, 20])
def test_a_machine_without_power_tells_the_others_nothing(both, back):
    def client(pair, socket):
        pair.two.crash(power=True)
        if back is not None:
            pair.world.later(back, pair.world.process, 'two')
        socket.send(b'unheard')
        if back is not None:
            pair.world.scheduler.wait('a while', 60)
            socket.send(b'answered by a reset')
        pair.wait(socket)
        with pytest.raises(OSError) as found:
            socket.recv(10)
        return found.value.errno, pair.world.now

    def server(pair, socket):
        pair.wait(socket)

    (code, now), _ = both(client, server)
    if back is None:
        assert (code, int(now)) == (errno.ETIMEDOUT, 1135)
    else:
        assert (code, int(now)) == (errno.ECONNRESET, 1060)


def test_connecting_to_a_machine_without_power_takes_its_whole_time():
    with World(1) as world:
        pair = Pair(world)
        pair.two.crash(power=True)
        thread = pair.one.start(pair.connected, 'main')
        world.run()

    assert isinstance(thread.error, TimeoutError)


def test_a_closed_descriptor_is_ready_for_a_poll_and_forgotten_by_an_epoll():
    def work(world, process):
        one, other = pair_of(world, process)
        poll, epoll = Poll(world.scheduler), Epoll(world.scheduler, process)
        poll.register(one, READ)
        epoll.register(one.fileno(), READ)
        fd = one.fileno()
        one.close()
        assert poll.poll(0) == [(fd, CLOSED)]
        assert epoll.poll(0) == []
        assert Socket(world.network, process).fileno() == fd
        with pytest.raises(OSError, match='Bad file descriptor'):
            one.send(b'x')

    with World(1) as world:
        process = world.process('one')
        process.start(work, 'main', world, process)
        world.run()
        assert world.errors == []


def pair_of(world, process):
    """Return two sockets that are connected to each other."""
    return loop.socket.socketpair()


def test_a_poll_object_serves_one_thread_at_a_time():
    def work(world, process):
        poll = Poll(world.scheduler)
        poll.register(pair_of(world, process)[0], READ)
        other = process.start(poll.poll, 'other', 5000)
        process.system.sleep(1)
        with pytest.raises(RuntimeError):
            poll.poll(1000)
        other.join()

    with World(1) as world:
        process = world.process('one')
        process.start(work, 'main', world, process)
        world.run()
        assert world.errors == []
