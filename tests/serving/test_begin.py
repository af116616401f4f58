"""Beginning a transaction: a storage that refuses is free for the next one."""

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from ZEO.serving.commit.begin import begin


def stacked(tmp_path):
    return DemoStorage(base=DemoStorage(), changes=DemoStorage(changes=MappingStorage()))


def on_a_file(tmp_path):
    return DemoStorage(
        base=FileStorage(str(tmp_path / 'base.fs')),
        changes=FileStorage(str(tmp_path / 'changes.fs')),
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize('make', [MappingStorage, DemoStorage, stacked, on_a_file])
def test_a_storage_that_refused_to_begin_begins_the_next_transaction(make, tmp_path):
    storage = make() if make in (MappingStorage, DemoStorage) else make(tmp_path)
    with pytest.raises(Exception):  # noqa: B017 - each storage has its own
        begin(storage, TransactionMetaData(), (b'not a tid', 'p', 'too much'))
    transaction = TransactionMetaData()
    begin(storage, transaction, ())
    storage.tpc_vote(transaction)
    storage.tpc_finish(transaction)
    storage.close()


@pytest.mark.timeout(20)
def test_a_transaction_that_is_under_way_keeps_its_lock_when_it_is_begun_again():
    storage, transaction = DemoStorage(), TransactionMetaData()
    begin(storage, transaction, ())
    with pytest.raises(Exception, match='Duplicate'):
        begin(storage, transaction, ())
    storage.tpc_abort(transaction)  # RuntimeError if the lock was let go
    begin(storage, transaction, ())
    storage.tpc_abort(transaction)
    storage.close()
