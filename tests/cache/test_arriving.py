"""A file that arrives in chunks is whole, or whoever asks for it is told."""

import os

from ZEO.cache.arriving import ArrivingFile, remove


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


def arriving(tmp_path, room, *chunks):
    file = ArrivingFile(str(tmp_path), 'test-')
    file._file = Disk(file._file, room)
    for chunk in chunks:
        file.add(chunk)
    file.close()
    return file


def content(file):
    with open(file.path, 'rb') as there:
        return there.read()


def test_a_write_that_takes_a_part_only_goes_on(tmp_path):
    file = arriving(tmp_path, 1000, b'a' * 25, b'b' * 35)
    assert file.error is None
    assert content(file) == b'a' * 25 + b'b' * 35


def test_a_full_disk_is_told_even_when_there_is_room_again(tmp_path):
    file = arriving(tmp_path, 30, b'a' * 25, b'b' * 35, b'')
    assert file.error is not None and file.error.errno == 28
    file.discard()
    assert not os.listdir(tmp_path)


def test_no_such_directory(tmp_path):
    file = ArrivingFile(str(tmp_path / 'no'), 'test-')
    file.add(b'x')
    file.close()
    assert file.error is not None
    file.discard()


def test_removing_tells_whether_it_was_there(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    assert remove(str(tmp_path / 'file'))
    assert not remove(str(tmp_path / 'file'))
