"""The server loads classes of the allowed packages to resolve conflicts, and no others."""

import pytest
from BTrees.Length import Length
from persistent import Persistent
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.serialize import ObjectWriter
from ZODB.utils import p64, z64

from ZEO.serving.resolve import ConflictPolicy

OID = p64(1)


class Counter(Persistent):
    """An application's class, which a server does not load unless it is told to."""

    value = 0

    def _p_resolveConflict(self, old, committed, new):
        return {'value': committed['value'] + new['value'] - old['value']}


class Failing(Persistent):
    """A class whose resolution has a bug."""

    value = 0

    def _p_resolveConflict(self, old, committed, new):
        raise ZeroDivisionError


def record(kind, value):
    item = kind()
    item.value = value
    item._p_oid = OID
    return ObjectWriter().serialize(item)


def conflicting(storage, kind):
    """Commit 0, then 10, then 3 on top of 0; return the last tid."""

    def store(serial, value):
        meta = TransactionMetaData()
        storage.tpc_begin(meta)
        try:
            storage.store(OID, serial, record(kind, value), '', meta)
            storage.tpc_vote(meta)
            return storage.tpc_finish(meta)
        finally:
            storage.tpc_abort(meta)

    first = store(z64, 0)
    store(first, 10)
    return store(first, 3)


@pytest.fixture
def storage(tmp_path):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    yield storage
    storage.close()


def test_a_class_of_the_default_packages(storage):
    ConflictPolicy().apply_to(storage)
    tid = conflicting(storage, Length)
    assert storage.loadSerial(OID, tid) == record(Length, 13)


def test_an_applications_class_is_left_to_its_clients(storage):
    ConflictPolicy().apply_to(storage)
    with pytest.raises(ConflictError) as caught:
        conflicting(storage, Counter)
    assert caught.value.oid == OID and len(caught.value.serials) == 2


def test_an_applications_class_that_the_operator_allows(storage):
    ConflictPolicy(modules=[__name__]).apply_to(storage)
    tid = conflicting(storage, Counter)
    assert storage.loadSerial(OID, tid) == record(Counter, 13)


def test_a_name_that_only_begins_like_an_allowed_one(storage):
    ConflictPolicy(modules=[__name__[:-1]]).apply_to(storage)
    with pytest.raises(ConflictError):
        conflicting(storage, Counter)


def test_a_resolution_with_a_bug_is_a_conflict(storage):
    ConflictPolicy(modules=[__name__]).apply_to(storage)
    with pytest.raises(ConflictError):
        conflicting(storage, Failing)


def test_clients_resolve_everything(storage):
    ConflictPolicy(client_only=True).apply_to(storage)
    with pytest.raises(ConflictError) as caught:
        conflicting(storage, Length)
    assert len(caught.value.serials) == 2


def test_a_record_that_names_code_runs_nothing(storage):
    policy = ConflictPolicy()
    policy.apply_to(storage)
    for data in (b'cos\nsystem\n(X\4\0\0\0truetR.}.', b'cbuiltins\neval\n.}.'):
        with pytest.raises(ConflictError):
            storage.tryToResolveConflict(OID, p64(2), p64(1), data, data)


@pytest.mark.parametrize('client_only', [False, True])
def test_a_record_whose_class_has_no_readable_name(storage, client_only):
    """It is a conflict as any other: ZODB's error alone would fail to be made."""
    ConflictPolicy(client_only).apply_to(storage)
    with pytest.raises(ConflictError) as caught:
        storage.tryToResolveConflict(OID, p64(2), p64(1), b'cno line ends here', b'')
    assert caught.value.serials == (p64(2), p64(1))


def test_a_storage_within_another(storage):
    """A wrapper's base is asked just the same."""
    wrapper = DemoStorage(base=storage)
    ConflictPolicy(client_only=True).apply_to(wrapper)
    with pytest.raises(ConflictError):
        storage.tryToResolveConflict(OID, p64(2), p64(1), record(Length, 1))
    with pytest.raises(ConflictError):
        wrapper.tryToResolveConflict(OID, p64(2), p64(1), record(Length, 1))
