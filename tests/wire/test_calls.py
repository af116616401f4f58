"""The table of calls and the methods that answer them are the same list."""

import inspect

import pytest

from ZEO.serving.calls.family import Family
from ZEO.serving.calls.registered import FAMILIES, FAMILY_OF
from ZEO.wire.calls import OF_CLIENT, OF_SERVER, Does, Waits

#: The protocol's own calls, and whether they are answered.
ANSWERED = """scram_first scram_final register get_info lastTransaction getInvalidations
    loadBefore new_oids vote tpc_finish tpc_abort history undoLog undoInfo loadSerial
    getTid record_iternext iterator_start iterator_next iterator_record_start
    iterator_record_next sendBlob
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
        'readAhead',
        'receiveBlobStart',
        'receiveBlobChunk',
        'receiveBlobStop',
    } == OF_SERVER


@pytest.mark.parametrize('name', OF_CLIENT)
def test_every_call_has_its_method(name):
    assert OF_CLIENT[name].name == name
    assert inspect.isfunction(vars(FAMILY_OF[name])[name])


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


def test_what_may_wait_is_answered_but_for_the_end_of_an_iterator():
    waiting = {name for name, row in OF_CLIENT.items() if row.waits is not Waits.NEVER}
    assert {name for name in waiting if not OF_CLIENT[name].answered} == {'iterator_gc'}
    assert {'loadBefore', 'vote', 'new_oids', 'sendBlob'} <= waiting
    assert not {'lastTransaction', 'storea', 'register', 'get_info'} & waiting


def test_only_answers_that_changes_must_not_overtake_go_first():
    assert {name for name, row in OF_CLIENT.items() if row.goes_first} == {
        'register',
        'loadBefore',
        'load_many',
    }


def test_every_call_has_one_family_and_nothing_else_of_a_family_can_be_called():
    """What a family has besides is the server's own; by name it must not be on the table."""
    assert set(FAMILY_OF) == set(OF_CLIENT)
    assert not set(vars(Family)) & set(OF_CLIENT)
    for name in OF_CLIENT:
        assert [family for family in FAMILIES if name in vars(family)] == [FAMILY_OF[name]]
        assert not name.startswith('_')
