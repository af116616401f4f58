"""Records that are read without a FileStorage's own calls: what those would return, always."""

import contextlib
import errno
import os
import random
from functools import partial

import pytest
from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileStorageError
from ZODB.FileStorage.fspack import PackError
from ZODB.POSException import ConflictError, POSKeyError, UndoError
from ZODB.serialize import referencesf
from ZODB.utils import maxtid, p64, z64

from ZEO.serving import direct_reads
from ZEO.serving.direct_reads import DirectReads
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.StorageServer import StorageServer


@pytest.fixture(params=[FileStorage, GroupedFileStorage])
def storage(request, tmp_path):
    with_file = request.param(str(tmp_path / 'Data.fs'))
    yield with_file
    with_file.close()


@pytest.fixture
def reads(storage):
    ours = DirectReads(storage)
    yield ours
    ours.close()


class Asked:
    """Counts what is left to a storage."""

    def __init__(self, storage, monkeypatch):
        self.times, self._load = 0, storage.loadBefore
        monkeypatch.setattr(storage, 'loadBefore', self, raising=False)

    def __call__(self, oid, tid):
        self.times += 1
        return self._load(oid, tid)


def commit(storage, **records):
    """Store records, given as ``o7=data``, None to delete one; return the tid."""
    return in_transaction(
        storage, lambda of: [_put(storage, of, *item) for item in records.items()]
    )


def in_transaction(storage, work):
    """Return the tid of a transaction in which `work` was done; its error when it fails."""
    of = TransactionMetaData()
    storage.tpc_begin(of)
    try:
        work(of)
        storage.tpc_vote(of)
    except BaseException:
        storage.tpc_abort(of)
        raise
    return storage.tpc_finish(of)


def _put(storage, of, name, data):
    oid = p64(int(name[1:]))
    try:
        serial = storage.loadBefore(oid, maxtid)[1]
    except POSKeyError:
        serial = z64
    if data is None:
        storage.deleteObject(oid, serial, of)
    else:
        storage.store(oid, serial, data, '', of)


def outcome(load, oid, tid):
    try:
        return load(oid, tid)
    except POSKeyError:
        return 'not there'


def test_the_usual_is_not_left_to_the_storage(storage, reads, monkeypatch):
    tid = commit(storage, o1=b'one', o2=b'x' * 4054, o3=b'y' * 4055, o4=b'z' * 1_000_000)
    reads.load(p64(1), maxtid)  # makes the descriptor
    asked = Asked(storage, monkeypatch)
    for number, data in enumerate((b'one', b'x' * 4054, b'y' * 4055, b'z' * 1_000_000), 1):
        assert reads.load(p64(number), maxtid) == (data, tid, None)
    assert not asked.times


def test_all_else_is(storage, reads, monkeypatch):
    first = commit(storage, o1=b'one', o2=b'two')
    second = commit(storage, o1=b'one again', o2=None)
    reads.load(p64(1), maxtid)
    asked = Asked(storage, monkeypatch)
    assert reads.load(p64(1), second) == (b'one', first, second)
    assert reads.load(p64(1), first) is None
    for missing in (2, 3):
        with pytest.raises(POSKeyError):
            reads.load(p64(missing), maxtid)
    assert asked.times == 4


@pytest.mark.parametrize('seed', range(6))
def test_whatever_has_happened(storage, reads, seed):
    """Stores, deletions, undos and packs at random: every object, before some transaction."""
    chance = random.Random(seed)
    tids = [commit(storage, o1=b'first')]
    for _ in range(40):
        what = chance.random()
        with contextlib.suppress(
            POSKeyError, UndoError, ConflictError, FileStorageError, PackError
        ):
            if what < 0.1:
                storage.pack(
                    TimeStamp(chance.choice(tids)).timeTime() + 1e-6, referencesf, gc=False
                )
            elif what < 0.25:
                past = chance.choice(storage.undoLog(0, 3))['id']
                tids.append(in_transaction(storage, partial(storage.undo, past)))
            else:
                data = os.urandom(chance.choice([1, 4054, 4055, 9000])) if what < 0.9 else None
                tids.append(commit(storage, **{f'o{chance.randrange(1, 12)}': data}))
        for number in range(13):
            for tid in (maxtid, chance.choice(tids)):
                here = outcome(reads.load, p64(number), tid)
                assert here == outcome(storage.loadBefore, p64(number), tid)


class Slow:
    """An index in which something happens right after a look."""

    def __init__(self, index, happens):
        self._index, self._happens = index, happens

    def get(self, oid, default=None):
        found = self._index.get(oid, default)
        self._happens()
        return found

    def __getattr__(self, name):
        return getattr(self._index, name)


def test_a_pack_that_replaces_the_file_in_the_middle_of_a_load(storage, reads):
    """What the index has said is read from the file that it belongs to."""
    for number in range(20):
        commit(storage, o1=b'old %d' % number, o2=b'x' * 100 * (number + 1))
    tid = commit(storage, o1=b'new')
    reads.load(p64(1), maxtid)
    packed = []

    def pack():
        if not packed:
            packed.append(storage._file)
            storage._index = index  # for the pack
            storage.pack(TimeStamp(tid).timeTime() + 1, referencesf, gc=False)

    index, storage._index = storage._index, Slow(storage._index, pack)
    assert reads.load(p64(1), maxtid) == (b'new', tid, None)
    assert packed and storage._file is not packed[0]
    assert storage._index.get(p64(1)) != index.get(p64(1))
    assert reads.load(p64(1), maxtid) == (b'new', tid, None)


def test_a_place_that_does_not_hold_the_record(storage, reads, monkeypatch):
    """What a thread has cut off since the index was asked."""
    tid = commit(storage, o1=b'one')
    end = os.path.getsize(storage._file_name)
    commit(storage, o2=b'two')
    reads.load(p64(1), maxtid)
    asked = Asked(storage, monkeypatch)
    index = storage._index
    for place in (end, end + 10_000, 4):
        storage._index = {p64(1): place}
        with contextlib.suppress(Exception):
            assert reads.load(p64(1), maxtid) == (b'one', tid, None)
    storage._index = index
    assert asked.times == 3


def test_a_length_that_may_be_damaged_is_left_to_the_storage(storage, reads, monkeypatch):
    tid = commit(storage, o1=b'x' * 100, o2=b'x' * 101)
    reads.load(p64(1), maxtid)
    monkeypatch.setattr(direct_reads, '_LARGEST', 100)
    asked = Asked(storage, monkeypatch)
    for number in (1, 2):
        assert reads.load(p64(number), maxtid) == (b'x' * (99 + number), tid, None)
    assert asked.times == 1


def test_without_a_descriptor_the_storage_reads(storage, reads, monkeypatch):
    tid = commit(storage, o1=b'one')

    def none_left(fd):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(direct_reads.os, 'dup', none_left)
        for _ in range(2):
            assert reads.load(p64(1), maxtid) == (b'one', tid, None)
    reads.load(p64(1), maxtid)
    asked = Asked(storage, monkeypatch)
    assert reads.load(p64(1), maxtid) == (b'one', tid, None)
    assert not asked.times


def test_where_the_system_has_no_pread(storage, monkeypatch):
    tid = commit(storage, o1=b'one')
    monkeypatch.delattr(direct_reads.os, 'pread')
    reads = DirectReads(storage)
    for _ in range(2):
        assert reads.load(p64(1), maxtid) == (b'one', tid, None)
    reads.close()


def test_it_leaves_no_descriptor(storage):
    commit(storage, o1=b'one')
    storage.loadBefore(p64(1), maxtid)
    before = sorted(os.listdir('/proc/self/fd'))
    reads = DirectReads(storage)
    reads.load(p64(1), maxtid)
    for _ in range(2):
        reads.close()
    assert sorted(os.listdir('/proc/self/fd')) == before


def test_a_server_reads_so(tmp_path, monkeypatch):
    """And gives its descriptor back."""
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    tid = commit(storage, o1=b'one')
    asked = Asked(storage, monkeypatch)
    before = sorted(os.listdir('/proc/self/fd'))
    server = StorageServer(('127.0.0.1', 0), {'1': storage})
    try:
        load = server.hosted['1'].backend.load_now
        assert load(p64(1), maxtid) == (b'one', tid, None)
        second = commit(storage, o1=b'two')
        asked.times = 0
        assert load(p64(1), maxtid) == (b'two', second, None)
        assert not asked.times
    finally:
        server.close()
    assert len(os.listdir('/proc/self/fd')) <= len(before)
