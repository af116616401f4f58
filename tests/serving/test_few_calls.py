"""A FileStorage that writes with few calls writes what a FileStorage writes."""

import errno
import multiprocessing
import os
import pickle
import random
import resource
from collections import Counter

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.format import CorruptedDataError
from ZODB.POSException import ConflictError, POSKeyError, UndoError
from ZODB.utils import p64, z64

from ZEO.serving import few_calls
from ZEO.serving.few_calls import FewCallsFileStorage

OID, OTHER = p64(1), p64(2)


@pytest.fixture
def storage(tmp_path):
    storage = FewCallsFileStorage(str(tmp_path / 'Data.fs'))
    yield storage
    storage.close()


def commit(storage, *stores):
    """Commit oids with serials and data; return the tid."""
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    try:
        for oid, serial, data in stores:
            storage.store(oid, serial, data, '', meta)
        storage.tpc_vote(meta)
    except BaseException:
        storage.tpc_abort(meta)
        raise
    return storage.tpc_finish(meta)


class Both:
    """The same calls to a FileStorage and to one with few calls."""

    def __init__(self, folder, seed):
        self.paths = folder / 'plain.fs', folder / 'few.fs'
        self.storages = FileStorage(str(self.paths[0])), FewCallsFileStorage(str(self.paths[1]))
        self.random = random.Random(seed)
        self.serials = {}
        self.written_ahead = 0  # transactions
        self.made = Counter()  # calls, and whether they could be made

    def call(self, name, *args):
        """Call both; return whether they could, and what they have returned."""
        outcomes = []
        for storage in self.storages:
            try:
                outcomes.append((True, getattr(storage, name)(*args)))
            except (ConflictError, POSKeyError, UndoError) as error:
                outcomes.append((False, type(error)))
        assert outcomes[0] == outcomes[1], name
        self.made[name, outcomes[0][0]] += 1
        return outcomes[0]

    def compare(self):
        """The files are equal, whoever reads them now."""
        plain, few = (path.read_bytes() for path in self.paths)
        assert plain == few
        assert self.storages[0]._pos == self.storages[1]._pos

    def transaction(self, number):
        """Begin one, have it do something, and end it somehow."""
        rng = self.random
        meta = TransactionMetaData('user', 'd' * rng.randrange(40), {'n': number})
        tid = p64(0x03E0000000000000 + number)
        self.call('tpc_begin', meta, tid, rng.choice('  p'))
        changed = set()
        is_good = all(self.change(meta, tid, changed) for _ in range(rng.randrange(5)))
        if is_good and rng.random() < 0.9:
            few = self.storages[1]
            if rng.random() < 0.5:  # as a server does
                steps = few.voting(meta)
                if rng.random() < 0.2:
                    next(steps, None)
                    self.call('tpc_abort', meta)
                    assert not any(True for _ in steps)
                    self.compare()
                    return
                for _ in steps:
                    self.call('getTid', OID)
                self.written_ahead += bool(few.written_ahead)
            self.call('tpc_vote', meta)
            self.compare()
            self.call('getTid', OID)  # reads next to what is not finished
            if rng.random() < 0.8:
                self.call('tpc_finish', meta)
                self.compare()
                self.serials.update(dict.fromkeys(changed, tid))
                return
        self.call('tpc_abort', meta)
        self.compare()

    def change(self, meta, tid, changed):
        """Change something; return whether that was possible."""
        rng = self.random
        oid = p64(rng.randrange(1, 9))
        serial = self.serials.get(oid, z64) if rng.random() < 0.95 else p64(7)
        data = pickle.dumps(rng.randbytes(rng.choice((1, 50, 300, 3000))))
        what = rng.random()
        if what < 0.75:
            done = self.call('store', oid, serial, data, '', meta)
        elif what < 0.85:
            done = self.call('restore', oid, tid, data, '', None, meta)
        elif what < 0.9:
            done = self.call('deleteObject', oid, serial, meta)
        else:
            undoable = self.call('undoLog', 0, 3)[1]
            if not undoable:
                return True
            done = self.call('undo', rng.choice(undoable)['id'], meta)
            changed.update((done[1] or (None, ()))[1] if done[0] else ())
        changed.add(oid)
        return done[0]


@pytest.mark.parametrize(
    ('most', 'is_direct'),
    [(few_calls.MOST_IN_MEMORY, True), (4000, True), (4000, False), (0, True)],
    ids=['in memory', 'both', 'both, without pwrite', 'in a file'],
)
def test_the_files_are_equal_at_each_step(tmp_path, monkeypatch, most, is_direct):
    monkeypatch.setattr(few_calls, 'MOST_IN_MEMORY', most)
    monkeypatch.setattr(few_calls, 'KEPT_IN_MEMORY', 1000)
    monkeypatch.setattr(few_calls, 'COPIED_AT_ONCE', 700)
    if not is_direct:  # as on Windows
        monkeypatch.delattr(os, 'pwrite')
        monkeypatch.delattr(os, 'pread')
    both = Both(tmp_path, most)
    for number in range(1, 120):
        both.transaction(number)
        if not number % 50:
            both.call('pack', 0x7FFFFFFF, lambda data: [], False)
            both.compare()
    for name in 'store', 'restore', 'deleteObject', 'undo', 'tpc_finish', 'tpc_abort', 'pack':
        assert both.made[name, True], name
    assert both.written_ahead
    assert both.made['store', False] and both.made['undo', False]
    for storage in both.storages:
        storage.close()
    assert len({path.with_name(path.name + '.index').read_bytes() for path in both.paths}) == 1


def test_a_commit_writes_twice_and_reads_only_what_it_does_not_know(storage, monkeypatch):
    serials = [commit(storage, (p64(n), z64, b'data')) for n in range(3)]
    calls = []
    for name in 'pread', 'pwrite', 'fsync':
        real = getattr(os, name)

        def call(*args, name=name, real=real):
            calls.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, call)
    commit(storage, (p64(0), serials[0], b'more'))
    assert calls == ['pwrite']  # and FileStorage writes and syncs in its way
    storage._tids.clear()
    commit(storage, (p64(1), serials[1], b'more'), (p64(2), serials[2], b'more'))
    assert calls == ['pwrite', 'pread', 'pread', 'pwrite']


@pytest.mark.parametrize('known', [True, False])
def test_a_conflict_is_found(storage, known):
    old = commit(storage, (OID, z64, b'old'))
    commit(storage, (OID, old, b'new'))
    if not known:
        storage._tids.clear()
    with pytest.raises(ConflictError):
        commit(storage, (OID, old, b'other'))


def test_so_is_one_with_a_record_that_a_pack_has_put_where_an_older_one_was(storage):
    old = commit(storage, (OID, z64, b'old'))
    place = storage._index[OID]
    commit(storage, (OID, old, b'new'))
    storage.pack(0x7FFFFFFF, lambda data: [], gc=False)
    assert storage._index[OID] == place
    with pytest.raises(ConflictError):
        commit(storage, (OID, old, b'other'))


def test_so_is_one_with_a_record_that_was_copied_with_another_tid(storage):
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.restore(OID, p64(5), b'data', '', None, meta)
    storage.tpc_vote(meta)
    tid = storage.tpc_finish(meta)
    with pytest.raises(ConflictError):
        commit(storage, (OID, tid, b'other'))
    commit(storage, (OID, p64(5), b'other'))


def test_what_is_written_in_part_is_written_to_its_end(storage, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, 'pwrite', lambda fd, data, place: pwrite(fd, data[:100], place))
    commit(storage, (OID, z64, b'data' * 200))
    assert storage.load(OID)[0] == b'data' * 200
    assert len(list(storage.iterator())) == 1


@pytest.mark.parametrize('number', [errno.ENOSPC, None], ids=['full', 'nothing'])
def test_what_cannot_be_written_fails_the_vote_and_leaves_nothing(storage, monkeypatch, number):
    commit(storage, (OTHER, z64, b'data'))
    size, pwrite, left = os.path.getsize(storage._file_name), os.pwrite, [100]

    def full(fd, data, place):
        if left:
            return pwrite(fd, data[: left.pop()], place)
        if number is None:
            return 0
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'pwrite', full)
    with pytest.raises(OSError):
        commit(storage, (OID, z64, b'data' * 200))
    assert os.path.getsize(storage._file_name) == size
    monkeypatch.undo()
    commit(storage, (OID, z64, b'data'))
    assert [len(list(transaction)) for transaction in storage.iterator()] == [1, 1]


def test_a_read_meanwhile_leaves_nothing_of_it_in_a_buffer(storage, monkeypatch):
    commit(storage, (OTHER, z64, b'data'))
    pwrite = os.pwrite

    def interrupted(fd, data, place):
        pwrite(fd, data[:-1], place)
        storage.load(OTHER)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, 'pwrite', interrupted)
    with pytest.raises(OSError):
        commit(storage, (OID, z64, b'lost'))
    monkeypatch.undo()
    commit(storage, (OID, z64, b'kept'))
    assert storage.load(OID)[0] == b'kept'


def test_a_record_of_another_object_is_found(storage):
    tid = commit(storage, (OTHER, z64, b'data'))
    storage._index[OID] = storage._index[OTHER]
    storage._tids.clear()
    with pytest.raises(CorruptedDataError):
        commit(storage, (OID, tid, b'data'))


def test_an_oid_that_a_client_has_chosen_is_not_given_out(storage):
    commit(storage, (p64(100), z64, b'data'))
    assert storage.new_oid() == p64(101)


def test_an_undo_may_be_of_any_size(storage):
    commit(storage, (OID, z64, b'data'))
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.undo(storage.undoLog(0, 1)[0]['id'], meta)
    assert storage._tfile is storage._collected.file
    storage.tpc_abort(meta)
    assert storage._tfile is storage._collected


def test_a_large_transaction_goes_to_the_file_and_its_memory_is_given_back(storage, monkeypatch):
    large = [(p64(n), z64, b'x' * 100_000) for n in range(20)]
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    for oid, serial, data in large:
        storage.store(oid, serial, data, '', meta)
        assert len(storage._collected.getvalue()) <= few_calls.MOST_IN_MEMORY
    assert storage._tfile is storage._collected.file
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    assert len(storage._collected.getvalue()) <= few_calls.KEPT_IN_MEMORY
    assert storage.load(p64(19))[0] == b'x' * 100_000


def test_few_tids_are_remembered(storage, monkeypatch):
    monkeypatch.setattr(few_calls, 'MOST_TIDS', 10)
    for number in range(12):
        commit(storage, (p64(number), z64, b'data'), (p64(number + 100), z64, b'data'))
        assert 2 <= len(storage._tids) <= 10
    commit(storage, *((p64(number), z64, b'data') for number in range(200, 220)))
    assert len(storage._tids) <= 10


def commit_without_memory(path):
    """In a process of its own: store what there is no memory for; then there is, again."""
    storage = FewCallsFileStorage(path)
    serial = commit(storage, (OID, z64, b'before'))
    with open('/proc/self/statm') as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    # written in two parts: the first has a place, the second has none
    data = b'x' * (few_calls.MOST_IN_MEMORY - 1000)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size, limits[1]))
    try:
        with pytest.raises(MemoryError):
            commit(storage, (OID, serial, b'small'), (OTHER, z64, data))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert storage._collected.closed is False
    commit(storage, (OID, serial, b'after'), (OTHER, z64, data))
    storage.close()


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='says how large a process is')
def test_memory_that_was_short_once_does_not_end_it(tmp_path):
    path = str(tmp_path / 'Data.fs')
    process = multiprocessing.get_context('spawn').Process(
        target=commit_without_memory, args=(path,)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0
    storage = FileStorage(path)
    assert storage.load(OID)[0] == b'after'
    storage.close()


def test_a_storage_that_is_closed_stays_closed(tmp_path):
    storage = FewCallsFileStorage(str(tmp_path / 'Data.fs'))
    storage.close()
    with pytest.raises(ValueError, match='closed'):
        storage._clear_temp()
