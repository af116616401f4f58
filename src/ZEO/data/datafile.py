"""The file of a FileStorage, read without a lock and without its index.

Enters: the path of the file, which a server may be writing. Leaves: its transactions in order, with
their records, up to the last whole one. Fails: :class:`~ZEO.data.outcome.DataError` for a
file that is not a FileStorage's, :class:`~ZEO.data.outcome.Different` for one that is damaged, with
the position; OSError where the disk does.

A commit in progress, or one that was cut short at the end of the file, does not count. A pack puts
another file in place; who has this one open still reads the whole history as it was before.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ZODB.FileStorage.FileStorage import packed_version
from ZODB.FileStorage.format import DATA_HDR, DATA_HDR_LEN, TRANS_HDR, TRANS_HDR_LEN
from ZODB.utils import z64

from ZEO.data.outcome import DataError, Different

START = len(packed_version)

#: Bytes read at once: many small transactions, and little memory.
_BUFFER = 1 << 20

#: Back pointers that one record may lead through; each undo of an undo adds one.
_MOST_BACK = 100_000

_unpack_data = struct.Struct(DATA_HDR).unpack_from
_unpack_transaction = struct.Struct(TRANS_HDR).unpack
_number = struct.Struct('>Q').unpack_from


class Header(NamedTuple):
    """The head of a transaction."""

    position: int  # where it begins
    tid: bytes
    length: int  # without the 8 bytes that repeat it
    status: str
    user: bytes
    description: bytes
    extension_bytes: bytes

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.position + self.length + 8

    @property
    def records(self) -> int:
        """Where its records begin."""
        texts = len(self.user) + len(self.description) + len(self.extension_bytes)
        return self.position + TRANS_HDR_LEN + texts


class Entry(NamedTuple):
    """The head of a record."""

    position: int
    oid: bytes
    tid: bytes
    previous: int  # where the object's record before it begins; 0 for none
    transaction: int  # where its transaction begins
    version: int  # always 0
    length: int  # of its data
    back: int  # where another record has its data, if it has none of its own; 0 for a deletion

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.position + DATA_HDR_LEN + (self.length or 8)


class DataFile:
    """An open file.

    :param path: of the file.
    :raises DataError: when it is not the file of a FileStorage.
    :raises OSError: when it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: BinaryIO = open(path, 'rb', _BUFFER)
        if self._file.read(START) not in (packed_version, b''):
            self._file.close()
            raise DataError(f'{path} is not the file of a FileStorage')
        self.size = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close it."""
        self._file.close()

    # Transactions.

    def headers(self, position: int = START) -> Iterator[Header]:
        """Yield the transactions from a position on, up to the last whole one.

        :raises Different: when one is damaged, and it is not the last.
        """
        while (header := self.header(position)) is not None:
            yield header
            position = header.end

    def header(self, position: int) -> Header | None:
        """Return the transaction that begins at a position; None at the end, and for one that was
        not finished.

        :raises Different: when it is damaged.
        """
        if position > self.size - TRANS_HDR_LEN:
            return None
        file = self._file
        file.seek(position)
        head = file.read(TRANS_HDR_LEN)
        tid, length, status, *texts = _unpack_transaction(head)
        end = position + length + 8
        if status == b'c' or end > self.size:
            self._may_be_last(position, status, end)
            return None
        if status not in (b' ', b'p', b'u') or length < TRANS_HDR_LEN + sum(texts):
            raise self.damaged(position, 'the head of a transaction')
        return Header(position, tid, length, status.decode(), *map(file.read, texts))

    def _may_be_last(self, position: int, status: bytes, end: int) -> None:
        """Refuse a transaction that is not whole, if there are others behind it: what is behind it
        would be lost without a word.
        """
        tail = self._last_position(self.size)
        in_front_of_others = tail is not None and tail > position
        if in_front_of_others or (status == b'c' and end < self.size):
            raise self.damaged(position, 'the head of a transaction')
        if status != b'c' and end > os.fstat(self._file.fileno()).st_size:
            raise Different(
                f'{self.path}: the last transaction, at byte {position}, is damaged, or a power '
                'failure has taken its end: a server moves it away when it starts'
            )

    def damaged(self, position: int, what: str) -> Different:
        """Return the error for what is wrong at a position."""
        return Different(f'{self.path}: {what} at byte {position} is damaged')

    def last(self) -> Header | None:
        """Return the last whole transaction; None if there is none."""
        position = self._last_position(self.size)
        header = None if position is None else self.header(position)
        if header is None and position is not None:  # a commit in progress
            position = self._last_position(position)
            header = None if position is None else self.header(position)
        if header is not None:
            return header
        found = None
        for found in self.headers():  # noqa: B007 - the end is being written: look from the start
            pass
        return found

    def _last_position(self, end: int) -> int | None:
        """Return where the transaction begins that ends there; None if none does."""
        if end < START + TRANS_HDR_LEN + 8:
            return None
        file = self._file
        file.seek(end - 8)
        length = _number(file.read(8))[0]
        position = end - 8 - length
        if position < START or length < TRANS_HDR_LEN:
            return None
        file.seek(position + 8)
        return position if _number(file.read(8))[0] == length else None

    def first_from(self, tid: bytes) -> int:
        """Return where the first transaction begins that is not before `tid`; the end of the file
        if there is none.
        """
        last = self.last()
        if last is None or last.tid < tid:
            return self.size
        position = last.position
        while position > START:  # mostly it is one of the last
            before = self._last_position(position)
            header = None if before is None else self.header(before)
            if header is None:
                raise self.damaged(position - 8, 'the end of a transaction')
            if header.tid < tid:
                break
            position = header.position
        return position

    # Records.

    def entries(self, header: Header) -> Iterator[tuple[Entry, bytes | None]]:
        """Yield the records of a transaction with their own data; None for one without.

        :raises Different: when one is damaged.
        """
        file, position = self._file, header.records
        end = header.end - 8
        while position < end:
            file.seek(position)
            head = file.read(DATA_HDR_LEN)
            if len(head) < DATA_HDR_LEN:
                raise self.damaged(position, 'a record')
            oid, tid, previous, transaction, version, length = _unpack_data(head)
            if position + DATA_HDR_LEN + (length or 8) > end:
                raise self.damaged(position, 'the length of a record')
            data = file.read(length or 8)
            back = 0 if length else _number(data)[0]
            entry = Entry(position, oid, tid, previous, transaction, version, length, back)
            position = entry.end
            yield entry, data if length else None

    def behind(self, entry: Entry) -> tuple[bytes | None, bytes | None]:
        """Return the data of a record that has none of its own, and the tid of the transaction that
        stored it; None twice for a deletion.

        :raises Different: when the records that it leads to are damaged.
        """
        position, first = entry.back, None
        for _ in range(_MOST_BACK):
            if not position:
                return None, first
            found, data = self.record_at(position)
            if found.oid != entry.oid or found.back >= position:
                break
            first = first or found.tid
            if data is not None:
                return data, first
            position = found.back
        raise self.damaged(entry.position, 'the back pointer of a record')

    def number_at(self, position: int) -> int:
        """Return the number of 8 bytes at a position."""
        self._file.seek(position)
        return _number(self._file.read(8))[0]

    def record_at(self, position: int) -> tuple[Entry, bytes | None]:
        """Return the record that begins at a position, with its own data.

        :raises Different: when there is none.
        """
        if not START <= position <= self.size - DATA_HDR_LEN - 8:
            raise self.damaged(position, 'a record')
        fd = self._file.fileno()
        head = os.pread(fd, DATA_HDR_LEN + 8, position)
        oid, tid, previous, transaction, version, length = _unpack_data(head)
        back = 0 if length else _number(head, DATA_HDR_LEN)[0]
        entry = Entry(position, oid, tid, previous, transaction, version, length, back)
        if version or entry.end > self.size:
            raise self.damaged(position, 'a record')
        return entry, os.pread(fd, length, position + DATA_HDR_LEN) if length else None


def tid_of_last(path: str) -> bytes:
    """Return the tid of the last whole transaction in a file; zeros if there is none."""
    file = DataFile(path)
    try:
        last = file.last()
        return z64 if last is None else last.tid
    finally:
        file.close()
