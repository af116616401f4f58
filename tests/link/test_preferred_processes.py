"""A client with prefer, and servers in processes that stand still; and it is forked."""

import os
import shutil
import signal
import tempfile
import time
import traceback

import pytest
from ZODB.utils import maxtid, p64

from support.children import Child
from support.followed import commit, until
from support.inside import link_of
from support.sides import SERVER
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected

OID = p64(101)


class Two:
    """A primary and a follower, each in a process."""

    def __init__(self, directory):
        self._forks = Child(SERVER, 'support.forked_servers', cwd='/tmp')
        self.primary, self.follower = f'{directory}/p', f'{directory}/f'
        self.pids = {}
        for address, primary in ((self.primary, None), (self.follower, self.primary)):
            self.pids[address] = self._forks.call(
                'serve', address=address, path=f'{address}.fs', primary=primary
            )
        self.clients = []

    def open(self, **options):
        """Return a client that reads from the follower."""
        client = ClientStorage(
            [self.primary, self.follower],
            prefer='replica',
            wait_timeout=20,
            max_disconnect_poll=0.05,
            **options,
        )
        self.clients.append(client)
        return client

    def reads_from_the_follower(self, client):
        connection = link_of(client).connection
        return connection is not None and connection.where == self.follower

    def signal(self, address, number):
        os.kill(self.pids[address], number)

    def close(self):
        for client in self.clients:
            client.close()
        for pid in self.pids.values():
            os.kill(pid, signal.SIGKILL)
        self._forks.close()


@pytest.fixture
def two():
    directory = tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
    made = Two(directory)
    yield made
    made.close()
    shutil.rmtree(directory)


def patiently(function):
    """Call it until it has a connection."""
    end = time.monotonic() + 20
    while True:
        try:
            return function()
        except ClientDisconnected:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.slow
def test_a_server_that_stands_still_costs_a_timeout_and_no_more(two):
    client = two.open(timeout=0.5, cache_size=0)
    tid = patiently(lambda: commit(client, OID, data=b'one'))
    until(lambda: two.reads_from_the_follower(client))
    for address in two.follower, two.primary:
        two.signal(address, signal.SIGSTOP)
        try:
            if address == two.follower:  # reads move to the primary, and writes go on
                assert patiently(lambda: client.loadBefore(OID, maxtid))[1] == tid
                tid = patiently(lambda: commit(client, OID, data=b'two'))
            else:  # reads go on, and a write fails in time
                assert patiently(lambda: client.loadBefore(OID, maxtid))[1] == tid
                with pytest.raises(ClientDisconnected):
                    commit(client, OID, data=b'three')
        finally:
            two.signal(address, signal.SIGCONT)
        until(lambda: two.reads_from_the_follower(client))
    tid = patiently(lambda: commit(client, OID, data=b'four'))
    assert patiently(lambda: client.loadBefore(OID, maxtid)) == (b'four', tid, None)


def test_parent_and_child_go_on_after_a_fork(two):
    client = two.open()
    tid = patiently(lambda: commit(client, OID, data=b'one'))
    until(lambda: two.reads_from_the_follower(client))
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.alarm(40)
            assert client.loadBefore(OID, maxtid)[1] == tid
            commit(client, OID, data=b'of the child')
            assert client.loadBefore(OID, maxtid)[0] == b'of the child'
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    until(lambda: client.loadBefore(OID, maxtid)[0] == b'of the child')
    tid = commit(client, OID, data=b'of the parent')
    assert client.loadBefore(OID, maxtid) == (b'of the parent', tid, None)
    assert two.reads_from_the_follower(client)
