"""A FileStorage's file whose last commit a power failure has torn."""

import logging
import pickle

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, u64

from support.history import committed
from ZEO.config.storages import open_file
from ZEO.Exceptions import ConfigurationError
from ZEO.serving import torn_commit

A, B, C = p64(1), p64(2), p64(3)
SECTOR = 512


@pytest.fixture
def path(tmp_path):
    """A file with two commits; the second one is of several sectors."""
    path = tmp_path / 'Data.fs'
    storage = FileStorage(str(path))
    committed(storage, [A])
    first = storage.getSize()
    record = pickle.dumps([number + 2**40 for number in range(400)])
    committed(storage, [A, B, C], data=record)
    storage.close()
    return path, first


def zero(path, *places):
    """Lose the sectors at these places."""
    data = bytearray(path.read_bytes())
    for place in places:
        begin = place // SECTOR * SECTOR
        data[begin : begin + SECTOR] = bytes(len(data[begin : begin + SECTOR]))
    path.write_bytes(data)


def record_of(path, number):
    """Return where a record of the last commit begins."""
    storage = FileStorage(str(path), read_only=True)
    place = storage._index[p64(number)]
    storage.close()
    return place


def is_cut(path, first):
    """Open the storage; return whether the second commit is gone, and the first is there."""
    storage = open_file(str(path))
    try:
        assert storage.load(A)
        return storage.getSize() == first
    finally:
        storage.close()


def test_a_commit_whose_record_has_a_hole_is_cut_off_and_kept(path, caplog):
    path, first = path
    whole = path.read_bytes()
    zero(path, record_of(path, 2) + 1000)
    torn = path.read_bytes()
    with caplog.at_level(logging.ERROR):
        assert is_cut(path, first)
    assert 'is not whole: the power failed before it was acknowledged' in caplog.text
    assert path.with_name('Data.fs.tr0').read_bytes() == torn[first:]
    assert path.read_bytes() == whole[:first]


def test_so_is_one_whose_header_of_a_record_is_lost(path):
    path, first = path
    zero(path, record_of(path, 3))
    assert is_cut(path, first)


def test_so_is_one_whose_end_is_lost(path):
    path, first = path
    zero(path, len(path.read_bytes()) - 1)
    assert is_cut(path, first)


def test_one_that_is_whole_stays(path):
    path, first = path
    before = path.read_bytes()
    assert not is_cut(path, first)
    assert path.read_bytes() == before


@pytest.mark.parametrize('data', [pickle.dumps(b'\0' * 5000), b'\0' * 5000, b'raw' + b'\0' * 5000])
def test_zeros_that_may_have_been_stored_stay(tmp_path, data):
    path = tmp_path / 'Data.fs'
    storage = FileStorage(str(path))
    committed(storage, [A])
    first = storage.getSize()
    committed(storage, [B], data=data)
    storage.close()
    assert not is_cut(path, first)


def test_damage_further_in_front_is_not_touched(path):
    path, first = path
    storage = FileStorage(str(path))
    hole = record_of(path, 2) + 1000
    committed(storage, [B])
    storage.close()
    zero(path, hole)
    before = path.read_bytes()
    torn_commit.cut(str(path))
    assert path.read_bytes() == before


def test_damage_that_is_not_zeros_is_not_touched(path):
    path, first = path
    data = bytearray(path.read_bytes())
    place = record_of(path, 3)
    data[place : place + 42] = b'x' * 42
    path.write_bytes(data)
    path.with_name('Data.fs.index').unlink()
    with pytest.raises(ConfigurationError):
        open_file(str(path))
    assert path.read_bytes() == data


@pytest.mark.parametrize('data', [b'', b'F', b'FS\0\0', b'\0\0\0\0'])
def test_a_file_of_which_the_first_bytes_did_not_reach_the_disk_is_empty(tmp_path, data):
    path = tmp_path / 'Data.fs'
    path.write_bytes(data)
    storage = open_file(str(path))
    assert len(storage) == 0
    storage.close()
    assert path.read_bytes() == b'FS30'


@pytest.mark.parametrize('data', [b'FS21', b'FS30\x03', b'text', b'\0' * 600, b'x' * 1000])
def test_another_file_is_not_touched(tmp_path, data):
    path = tmp_path / 'Data.fs'
    path.write_bytes(data)
    torn_commit.cut(str(path))
    assert path.read_bytes() == data


def test_tids_are_read_where_they_are(path):
    """The lengths at both ends of a commit, on which all this rests."""
    path, first = path
    data = path.read_bytes()
    assert u64(data[-8:]) == len(data) - 8 - first
