"""Accepting goes on, whatever those who connect do, and out of file descriptors."""

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from ZEO.net import addresses, connecting
from ZEO.net.acceptor import Acceptor
from ZEO.net.loop import Loop


class Refusing:
    """A listener whose accept fails first, as it may for one who is gone already."""

    def __init__(self, listener, errors):
        self.listener, self.errors = listener, errors

    def __getattr__(self, name):
        return getattr(self.listener, name)

    def accept(self):
        if self.errors:
            raise self.errors.pop(0)
        return self.listener.accept()


@pytest.fixture
def errors():
    """The errors of accept that are yet to come."""
    return []


@pytest.fixture
def accepting(tmp_path, errors):
    """An acceptor with its loop and what it has accepted."""
    loop, accepted = Loop(), []
    path = os.path.relpath(tmp_path / 's')
    (listener,) = addresses.listen(path if len(path) < 100 else ('127.0.0.1', 0))
    listener = Refusing(listener, errors)
    acceptor = Acceptor(loop, listener, lambda stream, where: accepted.append(stream))
    yield loop, acceptor, accepted
    acceptor.close()
    loop.close()
    for stream in accepted:
        stream.close()


def connect(acceptor):
    return connecting.connect(acceptor.address, 5)


def test_all_who_wait_are_accepted_not_blocking(accepting):
    loop, acceptor, accepted = accepting
    clients = [connect(acceptor) for _ in range(70)]
    for _ in range(2):
        loop.run_once(1)
    assert len(accepted) == 70
    assert not any(stream.getblocking() for stream in accepted)
    for client in clients:
        client.close()


def test_who_connects_and_is_gone_at_once(accepting):
    loop, acceptor, accepted = accepting
    for _ in range(20):
        connect(acceptor).close()
    alive = connect(acceptor)
    loop.run_once(1)
    assert accepted[-1].send(b'x') == 1
    assert alive.recv(1) == b'x'
    alive.close()


@pytest.mark.parametrize(
    'error',
    [
        ConnectionAbortedError(103, 'aborted'),
        OSError(71, 'Protocol error'),
        InterruptedError(),
        MemoryError(),
    ],
)
def test_an_error_of_accept_costs_the_others_nothing(accepting, errors, error):
    loop, acceptor, accepted = accepting
    errors += [error, error]
    client = connect(acceptor)
    for _ in range(3):
        loop.run_once(1)
    assert len(accepted) == 1
    client.close()


def test_closing_frees_everything(accepting):
    loop, acceptor, accepted = accepting
    connect(acceptor).close()
    before = len(os.listdir('/proc/self/fd'))
    acceptor.close()
    # the listener, and the descriptor that is kept for a time without any
    assert before - len(os.listdir('/proc/self/fd')) == 2
    if isinstance(acceptor.address, str):
        assert not os.path.exists(acceptor.address)
    loop.run_once(0)
    assert accepted == []


OUT_OF_FILES = """
    import os, resource, socket
    from ZEO.net import acceptor as module, addresses
    from ZEO.net.loop import Loop

    module._PAUSE = 0.01
    loop, accepted = Loop(), []
    listener, = addresses.listen(('127.0.0.1', 0))
    acceptor = module.Acceptor(loop, listener, lambda stream, where: accepted.append(stream))
    clients = [socket.create_connection(acceptor.address) for _ in range(10)]
    used = max(map(int, os.listdir('/proc/self/fd')))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, used + 1))
    held = []
    try:   # whatever is free below the limit
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    for _ in range(20):
        loop.run_once(0.1)
    assert not accepted, accepted
    refused = 0
    for client in clients:
        client.settimeout(5)
        refused += client.recv(1) == b''
        client.close()
    print('refused', refused)
    os.close(held.pop())
    os.close(held.pop()) if held else None
    after = socket.create_connection(acceptor.address)
    for _ in range(5):
        loop.run_once(0.1)
    assert len(accepted) == 1
    print('accepted again')
"""


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs /proc')
def test_out_of_file_descriptors():
    """Those who wait are refused, not left hanging nor looped over; and it accepts again when there
    are files.
    """
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(OUT_OF_FILES)],
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.stdout.split('\n')[:2] == ['refused 10', 'accepted again'], done.stderr
    assert done.stderr.count('refusing connections') == 1


def test_a_connection_that_can_not_be_tuned_is_dropped(accepting, monkeypatch):
    loop, acceptor, accepted = accepting

    def fail(stream):
        raise OSError(22, 'Invalid argument')

    monkeypatch.setattr(connecting, 'tune', fail)
    client = socket.socket(socket.AF_UNIX if isinstance(acceptor.address, str) else socket.AF_INET)
    client.connect(acceptor.address)
    client.settimeout(5)
    loop.run_once(1)
    assert accepted == []
    assert client.recv(1) == b''
    client.close()
