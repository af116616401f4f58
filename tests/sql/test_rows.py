"""What readers find in RelStorage's tables."""

import pytest
from ZODB.config import storageFromString
from ZODB.interfaces import IMVCCStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64

from support.history import committed
from ZEO.net.loop import Loop
from ZEO.serving.backends.instances import Instances, read, rest
from ZEO.serving.backends.rows import RowReader
from ZEO.serving.options import ServingOptions


def instances(storage):
    """The instances of a storage, as a server makes them."""
    return Instances('1', storage, ServingOptions().policy, Loop())


@pytest.fixture
def direct(sql):
    """A RelStorage of the database, with its own cache."""
    storage = sql.open()
    yield storage
    storage.close()


def test_an_older_record_is_the_one_before_a_transaction_or_none(sql, direct):
    hosted = sql.open()
    (first,) = committed(hosted, [p64(1)], data=b'first')
    assert hosted.load(p64(1))[0] == b'first'  # its cache has it from here on
    second = committed(direct, [p64(1)], data=b'second')[0]
    third = committed(direct, [p64(1)], data=b'third')[0]
    reader = instances(hosted).new_reader()
    reader.poll_invalidations()
    between = p64(int.from_bytes(second, 'big') + 1)
    if sql.keeps_history:
        assert read(reader, p64(1), between) == (b'second', second, third)
        assert read(reader, p64(1), second) == (b'first', first, second)
    else:  # never the first, which may be in the cache
        assert read(reader, p64(1), between) is None
    assert read(reader, p64(1), first) is None
    assert read(reader, p64(1), maxtid) == (b'third', third, None)
    assert read(reader, p64(1), 8 * b'\xff') == (b'third', third, None)
    with pytest.raises(POSKeyError):
        read(reader, p64(2), maxtid)
    rest(reader)
    reader.release()
    hosted.close()


def test_a_snapshot_stays_as_it_is_until_the_next(sql, direct):
    first, last = committed(direct, [p64(1)], [p64(2)])
    reader = instances(direct).new_reader()
    reader.poll_invalidations()
    assert reader.lastTransaction() == last
    changed = committed(direct, [p64(1)])[0]
    reader.prefetch([p64(1), p64(2)])
    assert reader.load(p64(1))[1] == first
    reader.poll_invalidations()
    assert reader.lastTransaction() == reader.load(p64(1))[1] == changed
    reader.release()


def test_readers_go_through_a_wrapper_to_the_tables(sql):
    storage = storageFromString(
        '%import zc.zlibstorage\n<zlibstorage>\n' + sql.section() + '</zlibstorage>\n'
    )
    assert IMVCCStorage.providedBy(storage)
    first, last = committed(storage, [p64(1)], [p64(1)], data=b'x' * 5000)
    reader = instances(storage).new_reader()
    assert type(reader) is type(storage) and type(reader.base) is RowReader
    reader.poll_invalidations()
    assert reader.lastTransaction() == last
    assert read(reader, p64(1), maxtid) == (b'x' * 5000, last, None)
    reader.prefetch([p64(1)])
    assert reader.load(p64(1)) == (b'x' * 5000, last)
    if sql.keeps_history:
        assert read(reader, p64(1), last) == (b'x' * 5000, first, last)
    rest(reader)
    reader.release()
    storage.close()
