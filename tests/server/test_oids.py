"""Oids that clients choose: one client cannot use them up for all the others."""

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import StorageTransactionError
from ZODB.utils import newTid, p64, u64, z64

from ZEO.serving.oids import LAST, GivenOut

HIGHEST = b'\xff' * 8
KINDS = {
    'file': lambda path: FileStorage(str(path / 'Data.fs')),
    'mapping': lambda path: MappingStorage(),
    'demo': lambda path: DemoStorage(),
}


@pytest.fixture(params=KINDS)
def storage(request, tmp_path):
    return KINDS[request.param](tmp_path)


@pytest.mark.parametrize('oid', [HIGHEST, b'\x80' + 7 * b'\0', p64(u64(LAST) + 1)])
@pytest.mark.parametrize('restore', [False, True])
def test_a_record_under_an_oid_that_uses_up_all_others_is_refused(serve, storage, oid, restore):
    service = serve(storage)
    if restore and not hasattr(storage, 'restore'):
        pytest.skip('it restores nothing')
    tid, meta = newTid(None), TransactionMetaData()
    service.good.tpc_begin(meta, tid)
    if restore:
        service.good.restore(oid, tid, b'data', '', None, meta)
    else:
        service.good.store(oid, z64, b'data', '', meta)
    with pytest.raises(
        StorageTransactionError,
        match=f'under the oid {oid.hex()}, which this server has not given out',
    ):
        service.good.tpc_vote(meta)
    service.good.tpc_abort(meta)
    assert service.good.new_oid() < LAST


def test_the_last_oid_that_a_client_may_choose_leaves_enough(serve, tmp_path):
    service = serve(FileStorage(str(tmp_path / 'Data.fs')))
    service.commit(LAST)
    oid = service.client().call('new_oids', 1)[0]
    assert oid > LAST
    service.commit(oid)


def test_what_was_given_out_before_a_restart_may_be_stored(serve, tmp_path):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    storage.set_max_oid(p64(u64(LAST) + 1000))
    service = serve(storage)
    service.commit(p64(u64(LAST) + 500))


def test_a_database_without_oids_left_is_served_and_read(serve, tmp_path):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.store(HIGHEST, z64, b'data', '', meta)
    storage.tpc_vote(meta)
    tid = storage.tpc_finish(meta)
    service = serve(storage, read_only=True)
    assert service.good.load(HIGHEST) == (b'data', tid)
    storage.close()
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    service = serve(storage)
    assert service.good.load(HIGHEST) == (b'data', tid)
    service.works = lambda: None  # there are no oids for the transaction that shows it


def test_what_is_given_out_is_noted():
    given = GivenOut([])
    assert given.note([p64(1), p64(3), p64(2)]) == [p64(1), p64(3), p64(2)]
    assert given.highest == p64(3)
