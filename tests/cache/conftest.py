"""Real servers and clients for the tests of a cache file in use, all of them gone at the end."""

import contextlib

import pytest

from support.children import Child
from support.kinds import FILE
from support.proxy import Proxy
from support.sides import OURS
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected


@pytest.fixture(scope='module')
def _host():
    host = Child(OURS, 'support.host', cwd='/tmp')
    yield host
    host.close()


@pytest.fixture
def serve(_host, tmp_path):
    """A function that serves a FileStorage in another process and returns the address; ``.stop()``
    takes the server away.
    """

    def serve(name='data', address=None, **options):
        (tmp_path / name).mkdir(exist_ok=True)
        return _host.call(
            'serve',
            storage=FILE.conf(str(tmp_path / name), ''),
            options=options,
            slot=name,
            address=address,
        )

    serve.stop = lambda name='data': _host.call('stop', slot=name)
    yield serve
    _host.call('stop')


@pytest.fixture
def wire():
    """A function that puts a wire that can be cut in front of a server."""
    with contextlib.ExitStack() as stack:

        def connect(address):
            proxy = Proxy(address)
            stack.callback(proxy.close)
            return proxy

        yield connect


@pytest.fixture
def path(tmp_path):
    """Where a cache file may be made."""
    return str(tmp_path / 'x-1.zec')


@pytest.fixture
def var(tmp_path):
    """The directory of persistent caches."""
    (tmp_path / 'var').mkdir()
    return str(tmp_path / 'var')


@pytest.fixture
def processes(tmp_path):
    """A function that starts a client process, see :mod:`support.agent`; its warnings are in
    ``.errors.seen``.
    """
    with contextlib.ExitStack() as stack:

        def start(module='support.agent'):
            child = Child(OURS, module, cwd=str(tmp_path), env=OURS.environ(SUPPORT_LOG='WARNING'))
            stack.callback(child.close)
            return child

        yield start


@pytest.fixture
def clients():
    """A function that opens a client in this process."""
    with contextlib.ExitStack() as stack:

        def open_client(address, **options):
            client = ClientStorage(
                address, **{'wait_timeout': 20, 'disconnect_poll': 0.02, **options}
            )
            stack.callback(client.close)
            return client

        yield open_client


@pytest.fixture
def reach():
    """A function that returns once a client has a connection; calls fail until it has found out
    that it lost the old one.
    """

    def reach(client):
        while True:
            try:
                return client.ping()
            except ClientDisconnected:
                pass

    return reach
