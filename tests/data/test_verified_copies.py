"""zeo copy --verify: a copy whose objects are not those of its source is not called the same."""

import pytest
from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64

from ZEO.commands import zeo


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


def files_with(*transactions, path, changed=None):
    """Make a file of transactions, each of a number and values by the numbers of objects.

    :param changed: what another one has in addition, by the numbers of transactions.
    """
    storage = FileStorage(path)
    for number, values in sorted({**dict(transactions), **(changed or {})}.items()):
        meta = TransactionMetaData()
        storage.tpc_begin(meta, tid_of(number))
        for oid, value in values.items():
            data = b'cpersistent.mapping\nPersistentMapping\n.' + value
            storage.restore(p64(oid), tid_of(number), data, '', None, meta)
        storage.tpc_vote(meta)
        storage.tpc_finish(meta)
    storage.close()


def tid_of(number):
    """Return the tid of a transaction."""
    return TimeStamp(2026, 1, 1, 0, 0, number).raw()


HISTORY = (1, {0: b'a', 1: b'a'}), (3, {0: b'b'}), (5, {0: b'c'})


@pytest.mark.parametrize(
    'changed',
    [{2: {1: b'other'}}, {3: {0: b'b', 1: b'other'}}, {5: {0: b'c', 1: b'other'}}],
    ids=['a transaction', 'a record', 'a record of the last one'],
)
def test_verify_finds_a_last_revision_that_only_the_copy_has(capsys, changed):
    files_with(*HISTORY, path='c.fs')
    files_with(*HISTORY, path='d.fs', changed=changed)
    assert zeo.main(['copy', 'c.fs', 'd.fs', '--verify']) == 1
    error = capsys.readouterr().err
    assert f'{tid_of(next(iter(changed))).hex()} ' in error
    assert f'does not have that revision of object {p64(1).hex()}' in error


@pytest.mark.parametrize(
    'changed',
    [{2: {0: b'other'}}, {3: {0: b'b', 7: b'other'}}, {4: {7: b'x'}}],
    ids=['an old revision', 'an object in a transaction', 'an object'],
)
def test_verify_takes_what_a_pack_may_have_removed_for_that(changed):
    files_with(*HISTORY, path='c.fs')
    files_with(*HISTORY, path='d.fs', changed=changed)
    assert zeo.main(['copy', 'c.fs', 'd.fs', '--verify']) == 0
