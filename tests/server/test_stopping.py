"""A server that stops lets its clients finish, and sends them away without an error."""

import shutil
import signal
import tempfile
import threading

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, z64

from support.commands import ServerCommand
from support.inside import link_of
from support.processes import wait_until
from support.sides import OURS
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZEO.serving import stopping
from ZEO.StorageServer import StorageServer

#: Seconds that a server gives its clients here: no test waits for them to be over.
LONG = 30


class Shared(MappingStorage):
    """A storage that two servers serve, one after the other."""

    def close(self):
        pass


class Running:
    """A server in a thread."""

    def __init__(self, address, storage):
        self.server = StorageServer(address, {'1': storage})
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        self.server.serve_forever()
        self.server.close()

    def ends(self):
        self.thread.join(20)
        return not self.thread.is_alive()

    def close(self):
        self.server.stop()
        self.thread.join(20)


@pytest.fixture
def run():
    """A function that runs servers of one storage, each at an address of its own."""
    folder, storage, running = tempfile.mkdtemp(prefix='zeo-', dir='/tmp'), Shared(), []

    def start():
        running.append(Running(f'{folder}/{len(running)}', storage))
        return running[-1]

    yield start
    for one in running:
        one.close()
    shutil.rmtree(folder)


@pytest.fixture
def command(tmp_path):
    """A server's process."""
    command = ServerCommand(OURS, tmp_path)
    yield command
    command.close()


def begun(client, oid=b'\0' * 7 + b'\1'):
    """Return a transaction that has stored a new object."""
    meta = TransactionMetaData()
    client.tpc_begin(meta)
    client.store(oid, z64, b'data', '', meta)
    return meta


def commit(client, oid, serial=z64):
    meta = TransactionMetaData()
    client.tpc_begin(meta)
    client.store(oid, serial, b'data', '', meta)
    client.tpc_vote(meta)
    return client.tpc_finish(meta)


@pytest.mark.parametrize('part', ['_commits', '_follows'])
def test_it_ends_although_a_look_at_its_clients_fails(run, raw, monkeypatch, part):
    running = run()
    raw(running.server)
    looks = []

    def failing(peer):
        looks.append(peer)
        raise MemoryError

    monkeypatch.setattr(stopping, part, failing)
    running.server.drain(0.2)
    assert running.ends() and looks


def test_without_clients_it_ends_at_once(run):
    one = run()
    one.server.drain(LONG)
    assert one.ends()


def test_idle_clients_leave(run, clients):
    one = run()
    client = clients(one.server.addr)
    one.server.drain(LONG)
    assert one.ends()
    assert not client.is_connected()


@pytest.mark.parametrize('voted', [False, True])
def test_a_commit_that_is_under_way_is_finished(run, clients, voted):
    one, other = run(), run()
    client = clients([one.server.addr])
    client.new_addr([one.server.addr, other.server.addr])
    meta = begun(client)
    if voted:
        client.tpc_vote(meta)
    one.server.drain(LONG)
    wait_until(lambda: link_of(client).connection.is_stopping)
    assert one.thread.is_alive()
    if not voted:
        client.tpc_vote(meta)
    tid = client.tpc_finish(meta)
    assert one.ends()
    # and the next server answers
    assert client.loadBefore(p64(1), maxtid)[1] == tid == client.getTid(p64(1))
    assert link_of(client).connection.where == other.server.addr


def test_a_commit_that_begins_meanwhile_goes_to_the_next_server(run, clients):
    one, other = run(), run()
    client = clients([one.server.addr])
    client.new_addr([one.server.addr, other.server.addr])
    meta = begun(client)
    one.server.drain(LONG)
    wait_until(lambda: link_of(client).connection.is_stopping)
    done = []
    thread = threading.Thread(target=lambda: done.append(commit(client, p64(2))))
    thread.start()
    client.tpc_vote(meta)
    client.tpc_finish(meta)
    thread.join(20)
    assert one.ends() and done == [client.getTid(p64(2))]


def test_many_threads_notice_nothing(run, clients):
    servers = [run()]
    client = clients([servers[0].server.addr])
    errors, stop, rounds = [], threading.Event(), [0] * 4

    def work(number):
        oid, serial = p64(10 + number), z64
        try:
            while not stop.is_set():
                serial = commit(client, oid, serial)
                assert client.loadSerial(oid, serial) == b'data'
                assert client.getTid(oid) == serial
                rounds[number] += 1
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            goal = sum(rounds) + 20
            wait_until(lambda goal=goal: errors or sum(rounds) > goal)
            servers.append(run())
            client.new_addr([server.server.addr for server in servers[-2:]])
            servers[-2].server.drain(LONG)
            assert servers[-2].ends()
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not errors


def test_the_time_is_bounded(run, clients):
    one = run()
    client = clients(one.server.addr)
    meta = begun(client)
    client.tpc_vote(meta)
    one.server.drain(0.3)
    assert one.ends()
    with pytest.raises(ClientDisconnected):
        client.tpc_finish(meta)


def test_no_new_client_is_accepted_meanwhile(run, clients):
    one = run()
    client = clients(one.server.addr)
    meta = begun(client)
    one.server.drain(LONG)
    wait_until(lambda: link_of(client).connection.is_stopping)
    with pytest.raises(ClientDisconnected):
        ClientStorage(one.server.addr, wait_timeout=0.1)
    client.tpc_abort(meta)
    assert one.ends()


def test_a_client_that_knows_nothing_of_it_finishes_its_vote_and_is_closed(run, raw):
    one = run()
    committing, idle = raw(one.server), raw(one.server)
    committing.begin(1, (p64(1), z64, b'data'))
    assert not committing.call('vote', 1)
    one.server.drain(LONG)
    assert idle.ended() == []
    assert len(committing.call('tpc_finish', 1)) == 8
    committing.ended()
    assert one.ends()


@pytest.mark.parametrize('classic', [False, True])
def test_a_client_of_one_server_waits_until_it_is_back(command, clients, classic):
    start = command.start_classic if classic else command.start
    start()
    client = clients(command.address)
    tid = commit(client, p64(1))
    meta = begun(client, p64(2))
    client.tpc_vote(meta)
    command.signal(signal.SIGTERM)
    wait_until(lambda: link_of(client).connection.is_stopping)
    client.tpc_finish(meta)
    assert command.ends() == 0
    start()
    assert commit(client, p64(1), tid) > tid


def test_the_second_signal_ends_it_at_once(command, clients):
    command.start()
    client = clients(command.address)
    meta = begun(client)
    client.tpc_vote(meta)
    command.signal(signal.SIGTERM)
    wait_until(lambda: link_of(client).connection.is_stopping)
    command.signal(signal.SIGINT)
    assert command.ends() == 0
    with pytest.raises(ClientDisconnected):
        client.tpc_finish(meta)
