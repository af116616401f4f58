"""Storages that fail where no storage should: one call fails, the others go on, and what is
permanent is told as committed.
"""

import json
import threading
from itertools import count

import pytest
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, z64

from support.inside import loop_of
from support.scripted import framed
from ZEO.serving.backends.recent import RecentRecords
from ZEO.serving.invalidations import Invalidations

OID = p64(10**6)


def attempted(call, *args):
    """Call the server; it may refuse."""
    try:
        return call(*args)
    except LookupError:
        return None


class Trouble(Exception):
    """Whatever a storage raises."""


class Worse(BaseException):
    """What should not be raised by a storage, and is no wish to end the process, such as a time
    limit of some library.
    """


def faulty(base):
    """Return a class of storages whose methods fail while they are named in `broken`."""

    def method(name):
        def call(self, *args, **kwargs):
            if name in self.broken:
                raise self.trouble
            return getattr(base, name)(self, *args, **kwargs)

        return call

    class Faulty(base):
        broken = frozenset()
        trouble = Trouble('of the storage')
        after_finish = None

        def tpc_finish(self, *args):
            tid = super().tpc_finish(*args)
            if self.after_finish is not None:
                raise self.after_finish
            return tid

    for name in (
        '__len__',
        'getSize',
        'getName',
        'isReadOnly',
        'supportsUndo',
        'lastTransaction',
        'sortKey',
        'new_oid',
        'loadBefore',
        'history',
        'loadSerial',
        'pack',
        'tpc_vote',
        'store',
        'tpc_begin',
        'iterator',
    ):
        if hasattr(base, name):
            setattr(Faulty, name, method(name))
    Faulty.__name__ = f'Faulty{base.__name__}'
    return Faulty


class Mapping(faulty(MappingStorage)):
    def getSize(self):
        if 'getSize' in self.broken:
            raise self.trouble
        return 1


@pytest.fixture(params=['memory', 'file'])
def faulted(serve, request, tmp_path):
    storage = (
        Mapping() if request.param == 'memory' else faulty(FileStorage)(str(tmp_path / 'faulty.fs'))
    )
    service = serve(storage)
    service.next_oid = count(10**7).__next__
    yield service
    storage.broken, storage.after_finish = frozenset(), None


@pytest.mark.parametrize(
    'broken',
    [
        '__len__',
        'getSize',
        'getName',
        'isReadOnly',
        'supportsUndo',
        'lastTransaction',
        'new_oid',
        'loadBefore',
        'history',
        'loadSerial',
        'tpc_vote',
        'store',
        'tpc_begin',
        'pack',
    ],
)
def test_no_method_that_fails_ends_the_server(faulted, broken):
    for trouble in (
        Trouble('x'),
        MemoryError(),
        RecursionError(),
        Worse(),
        StopIteration(),
        OSError(5, 'disk'),
    ):
        faulted.storage.broken = frozenset()
        client = faulted.client()
        tid = client.commit(1, (p64(faulted.next_oid()), z64, b'data'))
        faulted.storage.trouble, faulted.storage.broken = trouble, {broken}
        for name, *args in [
            ('get_info',),
            ('server_status',),
            ('lastTransaction',),
            ('loadBefore', OID, maxtid),
            ('new_oids',),
            ('history', OID, 1),
            ('loadSerial', OID, tid),
            ('getInvalidations', z64),
            ('pack', 0.0, True),
        ]:
            attempted(client.call, name, *args)
        attempted(client.commit, 2, (p64(faulted.next_oid()), z64, b'more'))
        client.close()
        faulted.good.ping()


@pytest.mark.parametrize('broken', ['__len__', 'getSize', 'getName'])
def test_a_client_connects_where_the_storage_does_not_tell_its_size(faulted, broken):
    faulted.storage.broken = {broken}
    client = faulted.client()
    assert {'length', 'size', 'name'} <= client.call('get_info').keys()


def test_a_probe_of_a_storage_in_trouble_is_answered(faulted):
    faulted.storage.broken = {'lastTransaction', 'getSize', '__len__'}
    stranger = faulted.connect()
    stranger.frame()
    stranger.send(framed(b'ruok'))
    status = json.loads(stranger.frame())['1']
    assert status['error'] == 'Trouble: of the storage' and status['last-transaction'] == ''


@pytest.mark.parametrize('broken', ['__len__', 'getSize', 'lastTransaction', 'getName'])
def test_a_permanent_commit_is_told_as_committed(faulted, broken):
    committer, other = faulted.client(), faulted.client()
    committer.begin(1, (OID, z64, b'data'))
    committer.call('vote', 1)
    faulted.storage.broken = {broken}
    tid = committer.call('tpc_finish', 1)
    faulted.storage.broken = frozenset()
    assert other.call('loadBefore', OID, maxtid) == (b'data', tid, None)
    assert ('invalidateTransaction', (tid, [OID])) in other.told


@pytest.mark.parametrize(
    'place',
    [(Invalidations, 'add'), (RecentRecords, 'changed'), (RecentRecords, 'look_for_others')],
    ids=lambda place: place[1],
)
def test_a_permanent_commit_that_is_not_noted_is_told_as_committed(serve, monkeypatch, place):
    service = serve()
    committer, other = service.client(), service.client()
    start = other.last
    with monkeypatch.context() as patched:

        def fails(*args):
            raise MemoryError

        patched.setattr(*place, fails)
        tid = committer.commit(1, (OID, z64, b'data'))
    assert other.call('loadBefore', OID, maxtid) == (b'data', tid, None)
    assert ('invalidateTransaction', (tid, [OID])) in other.told
    # What was not noted is not passed over: it is either known, or known to be unknown.
    assert other.call('getInvalidations', start) in (None, (tid, [OID]))


def test_a_storage_that_fails_behind_a_finished_transaction(faulted):
    committer, other = faulted.client(), faulted.client()
    committer.begin(1, (OID, z64, b'data'))
    committer.call('vote', 1)
    faulted.storage.after_finish = Trouble('too late')
    tid = committer.call('tpc_finish', 1)
    faulted.storage.after_finish = None
    assert other.call('loadBefore', OID, maxtid) == (b'data', tid, None)
    assert ('invalidateTransaction', (tid, [OID])) in other.told


def test_late_sizes_that_fail_end_nothing(faulted):
    """Sizes that are dear to find are looked for by a timer."""
    called = threading.Event()

    def slow_then_broken(self):
        if called.is_set():
            raise Trouble('in a timer')
        called.set()
        loop_of(faulted.server).system.sleep(0.01)
        return 1

    type(faulted.storage).getSize, usual = slow_then_broken, type(faulted.storage).getSize
    try:
        client = faulted.client()
        tid = client.commit(1, (OID, z64, b'1'))
        tid = client.commit(2, (OID, tid, b'2'))
        faulted.good.ping()
        loop_of(faulted.server).system.sleep(1.2)  # 100 times what looking took
        faulted.good.ping()
    finally:
        type(faulted.storage).getSize = usual


CALLS = [
    ('loadBefore', 2),
    ('loadSerial', 2),
    ('getTid', 1),
    ('history', 2),
    ('getInvalidations', 1),
    ('sendBlob', 2),
    ('load_many', 2),
    ('record_iternext', 1),
    ('iterator_start', 2),
    ('tpc_finish', 1),
    ('tpc_abort', 1),
    ('vote', 1),
    ('register', 2),
    ('iterator_next', 1),
    ('iterator_record_start', 2),
    ('undoLog', 2),
    ('undoInfo', 3),
    ('new_oids', 1),
    ('pack', 2),
]
HUGE, DEEP = frozenset({10**5000}), ()
for _ in range(700):
    DEEP = (DEEP,)


@pytest.mark.parametrize('make', [MappingStorage, DemoStorage], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    'value',
    [HUGE, 10**5000, DEEP, [], {}, None, 'text', b'', b'short', 'x' * 5_000_000, {b'\0': DEEP}],
    ids=[
        'huge',
        'int',
        'deep',
        'list',
        'dict',
        'none',
        'text',
        'empty',
        'short',
        'long',
        'dict of deep',
    ],
)
def test_one_message_never_ends_the_server(serve, make, value):
    service = serve(make())
    for name, args in CALLS:
        client = service.client()
        number = client.ask(name, *[value] * args)
        try:
            client.answer(number)
        except (LookupError, AssertionError, ConnectionError):  # refused, or closed
            pass
        client.close()
        service.good.ping()
