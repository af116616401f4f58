"""A file that arrives in chunks is whole, or says why it is not."""

import os

import pytest

from ZEO.incoming import IncomingFile


class Disk:
    """A file on a disk that is nearly full: it takes a part, and nothing once it is full."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        count = min(len(data), self.room, 10)
        if not count:
            raise OSError(28, 'No space left on device')
        self.room -= count
        return self.file.write(data[:count])

    def close(self):
        self.file.close()


@pytest.fixture
def incoming(tmp_path, monkeypatch):
    """A function that has chunks arrive on a disk with room for some bytes."""
    fdopen = os.fdopen

    def write(room, *chunks):
        with monkeypatch.context() as patch:
            patch.setattr(os, 'fdopen', lambda *args, **kw: Disk(fdopen(*args, **kw), room))
            file = IncomingFile(str(tmp_path), 'test-')
        for chunk in chunks:
            file.write(chunk)
        file.close()
        return file

    return write


def content(file):
    with open(file.path, 'rb') as there:
        return there.read()


def test_a_write_that_takes_a_part_only_goes_on(incoming):
    file = incoming(1000, b'a' * 25, b'b' * 35)
    assert file.error is None
    assert content(file) == b'a' * 25 + b'b' * 35


def test_a_full_disk_is_reported_even_when_there_is_room_again(tmp_path, incoming):
    file = incoming(30, b'a' * 25, b'b' * 35, b'')
    assert file.error is not None and file.error.errno == 28
    file.discard()
    assert not os.listdir(tmp_path)


def test_a_directory_that_is_not_there_is_reported(tmp_path):
    file = IncomingFile(str(tmp_path / 'no'), 'test-')
    file.write(b'x')
    file.close()
    assert file.error is not None
    file.discard()
