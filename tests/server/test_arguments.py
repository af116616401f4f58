"""Whatever a client gives to a call, storages are asked about oids and tids only, and a wrong tid
harms one transaction.
"""

import pytest
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, z64

from support.scripted import Ended, message
from ZEO.serving.tids import LAST
from ZEO.wire.arguments import KINDS, MOST_NAME, MOST_OIDS
from ZEO.wire.calls import OF_CLIENT

OID = p64(10**6)
TID = p64(10**15)
WRONG = [
    None,
    5,
    'text',
    b'',
    b'short',
    b'too long by far',
    [],
    {},
    (),
    1.5,
    frozenset({1}),
    [OID],
    10**5000,
    'x' * 8,
    True,
]
#: Something right for each kind of argument.
RIGHT = {
    'any': '1',
    'flag': False,
    'oid': OID,
    'tid': TID,
    'tid_or_none': None,
    'serial': z64,
    'oids': [OID],
    'bytes': b'data',
    'bytes_or_none': b'data',
    'text': b'text',
    'name': b'name',
    'short_text': 'name',
    'transaction': 5,
    'new_transaction': 5,
    'count': 1,
    'counts': [1],
    'number': 0.0,
    'cursor': None,
    'previous': None,
}


class Watched(MappingStorage):
    """Notes the oids and tids that it is asked about."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def loadBlob(self, oid, serial):
        self.asked += [oid, serial]
        raise KeyError(oid)

    def record_iternext(self, next=None):
        return None


def watch(name, count):
    method = getattr(MappingStorage, name)

    def call(self, *args, **kwargs):
        self.asked += args[:count]
        return method(self, *args, **kwargs)

    setattr(Watched, name, call)


for name, count in [
    ('loadBefore', 2),
    ('loadSerial', 2),
    ('getTid', 1),
    ('history', 1),
    ('store', 2),
    ('iterator', 2),
]:
    watch(name, count)

KIND_NAMES = {kind: name for name, kind in KINDS.items()}
IDS = {'oid', 'tid', 'tid_or_none', 'serial', 'previous'}


WITH_IDS = [
    method
    for method in OF_CLIENT.values()
    if any(KIND_NAMES[kind] in IDS for kind in method.arguments.kinds)
]


@pytest.mark.parametrize('method', WITH_IDS, ids=lambda method: method.name)
def test_no_storage_is_asked_about_what_is_no_id(serve, method):
    service = serve(Watched())
    kinds = [KIND_NAMES[kind] for kind in method.arguments.kinds]
    for place, kind in enumerate(kinds):
        if kind in IDS:
            for wrong in WRONG:
                args = [RIGHT[one] for one in kinds]
                args[place] = wrong
                client = service.client()
                if method.answered:
                    try:
                        client.call(method.name, *args)
                    except LookupError as error:
                        assert 'is not' in str(error) or error.args[0] in (
                            'builtins.KeyError',
                            'ZODB.POSException.Unsupported',
                            'ZODB.POSException.POSKeyError',
                            'builtins.TypeError',
                            'builtins.AttributeError',
                        )
                else:
                    client.begin(5)
                    client.tell(method.name, *args)
                    try:
                        client.call('vote', 5)
                    except (LookupError, Ended, ConnectionError):
                        pass
                client.close()
    service.good.ping()
    assert all(
        one is None or isinstance(one, bytes) and len(one) == 8 or one in ('', b'')
        for one in service.storage.asked
    )


def test_the_error_says_what_is_wrong(service):
    client = service.client()
    for name, args, text in [
        ('loadBefore', (b'x', maxtid), "b'x' is not an object id of 8 bytes"),
        ('history', (OID, 'a\nb'), r"'a\nb' is not an integer"),
        ('loadBefore', (OID,), 'the call takes 2 arguments'),
        ('load_many', ([OID] * (MOST_OIDS + 1), maxtid), 'at most 1000 object ids'),
        ('iterator_next', ('x' * (MOST_NAME + 1),), 'is not an integer'),
        ('pack', ('now',), "'now' is not a number"),
        ('undoInfo', (1, 2, None, 4), 'the call takes 0 to 3 arguments'),
    ]:
        with pytest.raises(LookupError, match='ValueError') as raised:
            client.call(name, *args)
        assert text in raised.value.args[1][0]


ANSWERED = [name for name, method in OF_CLIENT.items() if method.answered and name != 'register']


@pytest.mark.parametrize('name', ANSWERED)
def test_a_call_whose_answer_is_not_wanted_ends_the_connection(service, name):
    client = service.client()
    client.send(message(0, True, name, ()))
    assert client.ended() == []


def test_an_answer_to_a_one_way_call_is_given_where_it_is_wanted(service):
    client = service.client()
    assert client.call('iterator_gc', [1, 2]) is None
    assert client.call('tpc_begin', 5, b'', b'', {}, None, ' ') is None
    assert client.call('storea', OID, z64, b'data', 5) is None
    assert client.call('vote', 5) == []
    client.call('tpc_abort', 5)  # which holds the commit lock


@pytest.fixture(params=[FileStorage, MappingStorage, DemoStorage], ids=lambda make: make.__name__)
def any_storage(request, tmp_path, serve):
    return serve(
        request.param(str(tmp_path / 'd.fs')) if request.param is FileStorage else request.param()
    )


OLD_Z64 = '\0' * 8


def test_a_serial_that_is_text_is_taken_as_its_bytes(any_storage):
    """Programs from the time of Python 2 store new objects so, and ZODB's own tests of blobs do."""
    client = any_storage.client()
    first = client.commit(1, (OID, OLD_Z64, b'first'))
    second = client.commit(2, (OID, first.decode('latin-1'), b'second'))
    client.begin(3, (OID, OLD_Z64, b'third'))
    with pytest.raises(LookupError, match='ConflictError'):
        client.call('vote', 3)
    client.begin(4)
    client.tell('checkCurrentSerialInTransaction', OID, second.decode('latin-1'), 4)
    client.call('vote', 4)
    client.call('tpc_abort', 4)
    assert client.call('loadBefore', OID, maxtid) == (b'second', second, None)


@pytest.mark.parametrize('serial', ['\0' * 7, '\0' * 9, '\u0100' * 8])
def test_other_text_is_not_a_serial(service, serial):
    client = service.client()
    client.begin(1)
    client.tell('storea', OID, serial, b'data', 1)
    with pytest.raises((Ended, ConnectionError)):
        client.call('vote', 1)


def copied(client, tid, oid=OID, serial=None):
    """Copy a transaction with one record."""
    client.tell('tpc_begin', 7, b'', b'', {}, tid, ' ')
    client.tell('restorea', oid, serial or tid, b'data', None, 7)
    try:
        client.call('vote', 7)
        return client.call('tpc_finish', 7)
    finally:
        client.call('tpc_abort', 7)


@pytest.mark.parametrize(
    'tid', [b'\xff' * 8, b'\x80' + b'\0' * 7, maxtid, b'\x7f\xff\xff\xff' + b'\0' * 4]
)
def test_a_tid_that_leaves_none_after_it_is_refused(any_storage, tid):
    client = any_storage.client()
    with pytest.raises(LookupError, match='StorageTransactionError'):
        copied(client, tid)
    client.call('ping')


@pytest.mark.parametrize('serial', [b'\xff' * 8, maxtid, LAST, b''])
def test_a_record_newer_than_its_transaction_is_refused(service, serial):
    client = service.client()
    with pytest.raises(LookupError, match='StorageTransactionError'):
        copied(client, TID, serial=serial or b'\xff' * 8)
    client.tell('tpc_begin', 8, b'', b'', {}, None, ' ')
    client.tell('restorea', OID, b'\xff' * 8, b'data', None, 8)
    with pytest.raises(LookupError, match='newer than its transaction'):
        client.call('vote', 8)


def test_tids_that_come_in_order_are_taken_and_others_refused(service):
    client = service.client()
    assert copied(client, TID) == TID
    later = p64(10**15 + 1)
    # ZODB makes tids later that were out of order
    assert copied(client, later, p64(10**6 + 1), TID) == later
    for wrong in (later, TID, z64):
        with pytest.raises(LookupError, match='not after '):
            copied(client, wrong)
    client.call('ping')


def test_a_database_whose_clock_was_ahead_can_be_copied_and_written(service):
    client = service.client()
    assert copied(client, LAST[:4] + b'\0' * 4) == LAST[:4] + b'\0' * 4
    tid = client.commit(9, (p64(10**6 + 1), z64, b'data'))
    assert LAST[:4] + b'\0' * 4 < tid < maxtid
