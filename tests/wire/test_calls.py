"""The table of calls and the methods that answer them are the same list."""

import inspect

import pytest

from ZEO.serving import peer
from ZEO.wire import calls
from ZEO.wire.calls import OF_CLIENT, OF_SERVER, Does

#: The protocol's own calls, and whether they are answered.
ANSWERED = """register get_info lastTransaction getInvalidations loadBefore new_oids vote
    tpc_finish tpc_abort history undoLog undoInfo loadSerial getTid record_iternext
    iterator_start iterator_next iterator_record_start iterator_record_next sendBlob
    pack server_status ping""".split()
ONE_WAY = """tpc_begin storea restorea checkCurrentSerialInTransaction deleteObject undoa
    storeBlobStart storeBlobChunk storeBlobEnd storeBlobShared iterator_gc
    set_client_label""".split()


def test_the_protocol_is_complete():
    assert {name for name in ANSWERED if OF_CLIENT[name].answered} == set(ANSWERED)
    assert {name for name in ONE_WAY if not OF_CLIENT[name].answered} == set(ONE_WAY)
    assert {
        'invalidateTransaction',
        'info',
        'receiveBlobStart',
        'receiveBlobChunk',
        'receiveBlobStop',
    } == OF_SERVER


@pytest.mark.parametrize('name', OF_CLIENT)
def test_every_call_has_its_method(name):
    assert OF_CLIENT[name].name == name
    assert inspect.isfunction(vars(peer.Peer)[name])


def test_every_write_is_refused_to_readers():
    writes = {name for name, method in OF_CLIENT.items() if method.does is Does.WRITES}
    assert writes >= {
        'tpc_begin',
        'storea',
        'restorea',
        'deleteObject',
        'undoa',
        'vote',
        'tpc_finish',
        'storeBlobStart',
    }
    assert not writes & {
        'loadBefore',
        'getInvalidations',
        'register',
        'ping',
        'server_status',
        'iterator_next',
    }


def test_what_may_wait_is_on_the_table():
    """Once; what waits is answered, but for an iterator's end."""
    assert calls.MAY_WAIT | calls.ANSWERS_LATER <= set(OF_CLIENT)
    assert not calls.MAY_WAIT & calls.ANSWERS_LATER
    assert {
        name for name in calls.MAY_WAIT | calls.ANSWERS_LATER if not OF_CLIENT[name].answered
    } == {'iterator_gc'}


def test_nothing_else_of_a_peer_can_be_called():
    """What a peer has besides is of the server's own; by name it must not be on the table."""
    own = {name for name in dir(peer.Peer) if name not in OF_CLIENT}
    assert own >= {'close', 'push', 'handle', 'closed', 'allow', 'start', 'probed', '__init__'}
    assert not [name for name in OF_CLIENT if name.startswith('_')]
