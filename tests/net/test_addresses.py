"""Addresses as users write them, and the sockets that listen there."""

import errno
import os
import pathlib
import shutil
import socket
import tempfile

import pytest

from ZEO.Exceptions import ConfigurationError, Unavailable
from ZEO.net import addresses, connecting
from ZEO.net.addresses import parse, parse_all, same, show


@pytest.fixture
def folder():
    """A directory whose name is short enough for Unix sockets."""
    path = pathlib.Path(tempfile.mkdtemp(prefix='zeo-', dir='/tmp'))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize(
    'written, address',
    [
        (('localhost', 9100), ('localhost', 9100)),
        (['localhost', 9100], ('localhost', 9100)),
        (('', 9100), ('', 9100)),
        ((None, 9100), ('', 9100)),
        (9100, ('', 9100)),
        (0, ('', 0)),
        ('/a/socket', '/a/socket'),
        (b'/a/socket', '/a/socket'),
        (pathlib.Path('/a/socket'), '/a/socket'),
        (('::1', 9100, 0, 0), ('::1', 9100)),
    ],
)
def test_addresses(written, address):
    assert parse(written) == address
    if not isinstance(written, list):
        assert parse_all(written) == [address]


@pytest.mark.parametrize(
    'written',
    [
        None,
        '',
        b'',
        65536,
        -1,
        True,
        (),
        ('host',),
        ('host', 'port'),
        (1, 2),
        {},
        5.0,
        ('h', 70_000),
        ('.', 1),  # no resolver takes these, at any time
        'a..b:9100',
        ('x' * 64, 1),
    ],
)
def test_what_is_no_address(written):
    with pytest.raises(ConfigurationError):
        parse(written)


@pytest.mark.parametrize('written', [None, [], (), [None], [('h', 1), 'x', 70_000]])
def test_what_is_no_list_of_addresses(written):
    with pytest.raises(ConfigurationError):
        parse_all(written)


def test_several():
    assert parse_all([('a', 1), 'path', 9100, ('a', 1)]) == [('a', 1), 'path', ('', 9100)]
    assert parse_all((('a', 1), ('b', 2))) == [('a', 1), ('b', 2)]
    assert parse_all(iter([9100])) == [('', 9100)]


def test_as_a_person_would_write_it():
    assert show(('localhost', 9100)) == 'localhost:9100'
    assert show(('::1', 9100, 0, 0)) == '[::1]:9100'
    assert show('/a/socket') == '/a/socket'
    assert show('') == 'a Unix socket'


def test_names_of_one_server_are_the_same():
    assert same(('localhost', 1)) == same(('', 1)) == same(('::1', 1)) == same(('127.0.0.1', 1))
    assert same(('localhost', 1)) != same(('localhost', 2))
    assert same('/a/socket') == '/a/socket'


def closing(listeners):
    for listener in listeners:
        listener.close()


def talk(address, listeners):
    """Connect to an address; the listener that is reached gets a byte."""
    with connecting.connect(address, 5) as client:
        for listener in listeners:
            listener.setblocking(True)
            listener.settimeout(0.2)
            try:
                stream, _ = listener.accept()
            except TimeoutError:
                continue
            with stream:
                client.send(b'x')
                stream.settimeout(5)
                assert stream.recv(1) == b'x'
            return
    raise AssertionError('nobody was reached')


def test_tcp():
    listeners = addresses.listen(('127.0.0.1', 0))
    try:
        assert not listeners[0].getblocking()
        host, port = addresses.bound(listeners[0])
        assert host == '127.0.0.1' and port > 0
        talk((host, port), listeners)
    finally:
        closing(listeners)


def test_tcp_of_a_port_in_use():
    listeners = addresses.listen(('127.0.0.1', 0))
    try:
        with pytest.raises(
            ConfigurationError,
            match=r'cannot listen on 127\.0\.0\.1:\d+: Address already in use; stop the program',
        ):
            addresses.listen(addresses.bound(listeners[0]))
    finally:
        closing(listeners)


def test_every_family_listens_on_one_port():
    listeners = addresses.listen(('', 0))
    try:
        assert len({addresses.bound(listener)[1] for listener in listeners}) == 1
        talk(('127.0.0.1', addresses.bound(listeners[0])[1]), listeners)
    finally:
        closing(listeners)


def test_ipv6():
    try:
        listeners = addresses.listen(('::1', 0))
    except ConfigurationError as error:
        pytest.skip(str(error))
    try:
        host, port = addresses.bound(listeners[0])
        assert host == '::1'
        talk(('::1', port), listeners)
        with pytest.raises(OSError):  # it does not take the port of IPv4 as well
            connecting.connect(('127.0.0.1', port), 5)
    finally:
        closing(listeners)


def test_a_host_that_is_not_here():
    with pytest.raises(ConfigurationError, match='cannot listen on 203.0.113.1:9100'):
        addresses.listen(('203.0.113.1', 9100))


def test_a_unix_socket(folder):
    path = str(folder / 's')
    listeners = addresses.listen(path)
    assert addresses.bound(listeners[0]) == path
    talk(path, listeners)
    closing(listeners)


def test_a_stale_unix_socket_is_replaced(folder):
    path = str(folder / 's')
    closing(addresses.listen(path))  # as a killed server leaves it
    assert os.path.exists(path)
    listeners = addresses.listen(path)
    talk(path, listeners)
    closing(listeners)


def test_a_live_servers_unix_socket_stays(folder):
    path = str(folder / 's')
    listeners = addresses.listen(path)
    with pytest.raises(ConfigurationError, match='another server is listening there'):
        addresses.listen(path)
    listeners[0].accept()[0].close()  # the question whether it lives
    talk(path, listeners)
    closing(listeners)


def test_a_live_server_that_is_too_busy_to_accept(folder):
    path = str(folder / 's')
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(path)
        original = socket.socket.settimeout
        try:
            socket.socket.settimeout = lambda self, seconds: original(self, 0.1)
            with pytest.raises(ConfigurationError):
                addresses.listen(path)
        finally:
            socket.socket.settimeout = original
        assert os.path.exists(path)
        for one in waiting:
            one.close()


def test_a_file_that_is_no_socket_stays(folder):
    path = folder / 'Data.fs'
    path.write_bytes(b'precious')
    with pytest.raises(ConfigurationError, match='not a socket'):
        addresses.listen(str(path))
    assert path.read_bytes() == b'precious'


def test_a_unix_socket_in_no_directory(folder):
    with pytest.raises(ConfigurationError, match='cannot listen on .*: No such file or directory'):
        addresses.listen(str(folder / 'no' / 's'))


def test_connecting_where_nobody_listens(folder):
    listeners = addresses.listen(('127.0.0.1', 0))
    address = addresses.bound(listeners[0])
    closing(listeners)
    for nowhere in (address, str(folder / 's')):
        with pytest.raises(OSError):
            connecting.connect(nowhere, 5)


V4, V6 = (socket.AF_INET, ('127.0.0.1', 0)), (socket.AF_INET6, ('::1', 0, 0, 0))


@pytest.fixture
def families(monkeypatch):
    """A function that has names mean addresses, and sockets of one family fail."""

    def families(*found, failing, number):
        make = socket.socket

        def fail(family=-1, *args, **named):
            if family == failing:
                raise OSError(number, os.strerror(number))
            return make(family, *args, **named)

        def look_up(host, port, **named):
            return [
                (family, socket.SOCK_STREAM, 6, '', (where[0], port, *where[2:]))
                for family, where in found
            ]

        monkeypatch.setattr(addresses.socket, 'socket', fail)
        monkeypatch.setattr(addresses.socket, 'getaddrinfo', look_up)

    return families


@pytest.mark.parametrize('number', [errno.EMFILE, errno.ENOMEM, errno.ENOBUFS])
def test_no_address_is_left_out_for_want_of_memory_or_descriptors(families, number):
    """Clients that reach the server by the other one would find none."""
    families(V4, V6, failing=socket.AF_INET6, number=number)
    with pytest.raises(Unavailable, match=os.strerror(number)):
        addresses.listen(('localhost', 0))


def test_a_family_that_the_kernel_lacks_is_left_out(families):
    families(V6, V4, failing=socket.AF_INET6, number=errno.EAFNOSUPPORT)
    listeners = addresses.listen(('localhost', 0))
    closing(listeners)
    assert [listener.family for listener in listeners] == [socket.AF_INET]


def test_connecting_goes_on_behind_a_family_that_the_kernel_lacks(families):
    listeners = addresses.listen(('127.0.0.1', 0))
    families(V6, V4, failing=socket.AF_INET6, number=errno.EAFNOSUPPORT)
    try:
        with connecting.connect(('localhost', listeners[0].getsockname()[1]), 10) as stream:
            assert stream.family == socket.AF_INET
    finally:
        closing(listeners)


def test_connecting_to_what_is_not_a_socket(folder):
    """The kernel says that the connection is refused, as of a server that is down."""
    with pytest.raises(OSError, match='this is a directory: give the path of the socket in it'):
        connecting.connect(str(folder), 5)
    (folder / 'Data.fs').write_bytes(b'precious')
    with pytest.raises(OSError, match="this is a file: give the path of the server's socket"):
        connecting.connect(str(folder / 'Data.fs'), 5)
