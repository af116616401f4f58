"""Who is at the other end of a Unix socket."""

import errno
import os
import socket
import struct

import pytest

from ZEO.net import unix_peers
from ZEO.net.unix_peers import unix_peer

pytestmark = pytest.mark.skipif(not unix_peers.KNOWN, reason='this system does not say it')


class Stream:
    """A connection whose kernel answers as the test says."""

    family = socket.AF_UNIX

    def __init__(self, uid=1000, groups=(7, 8)):
        self._uid, self._groups = uid, groups

    def getsockopt(self, level, option, size):
        if option == socket.SO_PEERCRED:
            return struct.pack('=iII', 1, self._uid, 7)
        if isinstance(self._groups, int):
            raise OSError(self._groups, 'no')
        return struct.pack(f'={len(self._groups)}I', *self._groups)


def test_the_kernel_says_which_user_and_groups_a_client_has():
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        found = unix_peer(one)
    assert found.uid == os.geteuid()
    assert found.groups[0] == os.getegid()
    assert set(os.getgroups()) <= set(found.groups)


def test_a_client_over_tcp_is_nobody_in_particular():
    with socket.create_server(('127.0.0.1', 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            with listener.accept()[0] as accepted:
                assert unix_peer(accepted) is unix_peer(client) is None


def test_large_numbers_stay_positive():
    assert unix_peer(Stream(uid=2**32 - 2)).uid == 2**32 - 2


def test_where_there_is_no_user_there_is_none():
    assert unix_peer(Stream(uid=2**32 - 1)) is None


@pytest.mark.parametrize('number', [errno.ENOPROTOOPT, errno.ENODATA, errno.EOPNOTSUPP])
def test_kernels_that_do_not_know_all_groups_say_the_first(number):
    assert unix_peer(Stream(groups=number)).groups == (7,)


@pytest.mark.parametrize('number', [errno.ERANGE, errno.EBADF])
def test_what_cannot_be_found_out_is_an_error(number):
    with pytest.raises(OSError):
        unix_peer(Stream(groups=number))


def test_systems_that_do_not_say_it_know_nobody(monkeypatch):
    monkeypatch.setattr(unix_peers, 'KNOWN', False)
    assert unix_peer(Stream()) is None
