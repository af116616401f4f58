"""Clients of both sides hear that the full disk is the server's.

Those of ZEO 6 raise a ServerException, as for any error that is not ZODB's.
"""

import errno

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64, z64

from support.children import RemoteError


class Full(MappingStorage):
    """Its disk is full at each vote."""

    def tpc_vote(self, transaction):
        raise OSError(errno.ENOSPC, 'No space left on device')


@pytest.mark.parametrize('msgpack', [False, True], ids=['Z5', 'M5'])
def test_a_full_disk_of_the_server(agents, serving, msgpack):
    server = serving(Full(), msgpack=msgpack)
    for agent in agents:
        agent.call('open', address=server.addr, database=False)
        with pytest.raises(RemoteError) as caught:
            agent.call('store', records=[[p64(1), z64, b'x']])
        assert caught.value.is_a('OSError') or caught.value.is_a('ServerException')
        assert "No space left on device, on the server's disk" in caught.value.text
