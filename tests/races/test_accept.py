"""Whoever connects, and however he ends, the next one is accepted."""

import errno
import os
import resource
import socket
import struct

import pytest
from ZODB.MappingStorage import MappingStorage

from support.children import Child
from support.scripted import RawClient, framed
from support.sides import OURS
from ZEO.net.acceptor import Acceptor
from ZEO.net.loop import Loop

pytestmark = pytest.mark.smoke

RESET = struct.pack('ii', 1, 0)  # SO_LINGER: close sends a reset


def test_those_who_connect_and_close_at_once_hurt_nobody(serving):
    """With and without a reset, before and after the greeting."""
    server = serving(MappingStorage(), ('127.0.0.1', 0))
    for number in range(200):
        with socket.create_connection(server.addr, timeout=30) as stream:
            if number % 2:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if number % 3 == 0:
                stream.recv(6)
    with socket.create_connection(server.addr, timeout=30) as stream:
        assert stream.recv(6) == framed(b'Z5')


@pytest.mark.parametrize('error', [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN])
def test_an_error_that_belongs_to_the_newcomer_is_not_the_listeners(error):
    """accept() reports what happened to somebody in its queue; behind him others wait."""
    loop = Loop()
    listener = _Queue([OSError(error, os.strerror(error)), socket.socketpair()[0]])
    accepted = []
    acceptor = Acceptor(loop, listener, lambda stream, where: accepted.append(stream))
    loop.run_once(0)
    assert len(accepted) == 1
    acceptor.close()
    loop.close()
    accepted[0].close()


class _Queue:
    """A listening socket with a queue of the test's making; always ready."""

    def __init__(self, outcomes):
        self._outcomes = outcomes
        self._ready, self._other = socket.socketpair()
        self._other.send(b'!')
        self.family = socket.AF_UNIX

    def fileno(self):
        return self._ready.fileno()

    def getsockname(self):
        return '/nowhere'

    def accept(self):
        if not self._outcomes:
            raise BlockingIOError
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome, None

    def close(self):
        self._ready.close()
        self._other.close()


@pytest.fixture
def process():
    """A server process, whose limits the test may change."""
    child = Child(OURS, 'support.host', cwd='/tmp')
    yield child
    child.close()


@pytest.mark.skipif(
    not hasattr(resource, 'prlimit'), reason='only Linux changes the limits of another process'
)
def test_out_of_file_descriptors_newcomers_are_refused_and_all_others_served(process):
    """Refused at once, not left in the queue; and accepted again as soon as there is room."""
    address = process.call('serve', storage='<mappingstorage>\n</mappingstorage>\n', options={})
    served = RawClient(address)
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir(f'/proc/{process.pid}/fd'))) + 1
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used, before[1]))
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as newcomer:
            newcomer.settimeout(30)
            newcomer.connect(address)
            assert newcomer.recv(6) == b''
            assert served.call('ping') is None
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
    accepted = RawClient(address)
    assert accepted.call('ping') is None
    accepted.close()
    served.close()
