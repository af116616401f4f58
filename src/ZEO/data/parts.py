"""Part files of a backup: transactions with their records, and which blobs belong to them.

Enters: transactions, or the path of a part. Leaves: a file that is on the disk, with its SHA-256;
or its transactions. Fails: :class:`~ZEO.data.outcome.Different` for a file that is damaged; OSError
where the disk does.

A part is a line that says what it is, and then frames, each with one byte in front: ``T`` a
transaction (tid, status, three lengths, three texts), ``R`` a record (oid, tid, the tid of the same
data or zeros, length or -1, data), ``B`` behind it the blob (size, SHA-256), ``E`` the end of a
transaction, ``Z`` the end of the part. Numbers are big-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any, BinaryIO

from ZODB.utils import z64

from ZEO.data.digests import create
from ZEO.data.outcome import Different
from ZEO.data.sources import Record
from ZEO.files import remove_if_there
from ZEO.wire.guarded import extension

MAGIC = b'ZEO backup, format 1\n'

_TRANSACTION = struct.Struct('>8scIII')
_RECORD = struct.Struct('>8s8s8sq')
_BLOB = struct.Struct('>Q32s')

#: Bytes that are written or read at once.
_BUFFER = 1 << 20


class PartWriter:
    """A part that is being written, beside its final name.

    :param path: its final name.
    """

    def __init__(self, path: str) -> None:
        self.path, self._beside = path, f'{path}.tmp'
        self._file: BinaryIO = open(create(self._beside), 'wb', _BUFFER)
        self._hash = sha256()
        self.size = self.transactions = self.records = self.blobs = self.blob_bytes = 0
        self.first = self.last = z64
        self._write(MAGIC)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def begin(self, transaction: Any) -> None:
        """Begin a transaction."""
        texts = transaction.user, transaction.description, transaction.extension_bytes
        status = transaction.status.encode('ascii')
        self._write(b'T' + _TRANSACTION.pack(transaction.tid, status, *map(len, texts)))
        self._write(b''.join(texts))
        self.transactions += 1
        self.first = transaction.tid if self.first == z64 else self.first
        self.last = transaction.tid

    def record(self, record: Any) -> None:
        """Write a record of it."""
        data = record.data
        length = -1 if data is None else len(data)
        behind = record.data_txn or z64
        self._write(b'R' + _RECORD.pack(record.oid, record.tid, behind, length))
        self._write(data or b'')
        self.records += 1

    def blob(self, size: int, digest: str) -> None:
        """Write which blob belongs to the record before."""
        self._write(b'B' + _BLOB.pack(size, bytes.fromhex(digest)))
        self.blobs, self.blob_bytes = self.blobs + 1, self.blob_bytes + size

    def end(self) -> None:
        """End the transaction."""
        self._write(b'E')

    def finish(self) -> str:
        """Put the part on the disk under its name; return its SHA-256."""
        self._write(b'Z')
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._beside, self.path)
        return self._hash.hexdigest()

    def drop(self) -> None:
        """Give it up."""
        remove_if_there(self._beside)
        with suppress(OSError):  # the disk is full, and it writes what it still has
            self._file.close()


class BackedUp:
    """One transaction in a part, whose records have to be read before the next."""

    def __init__(self, part: PartReader, head: tuple[Any, ...], texts: list[bytes]) -> None:
        self._part = part
        self.tid, self.status = head[0], head[1].decode('latin-1')
        self.user, self.description, self.extension_bytes = texts
        # oid and tid of a blob -> size and SHA-256; of those that have a file
        self.blobs: dict[tuple[bytes, bytes], tuple[int, str]] = {}
        self.read = False  # whether all of its records were

    @property
    def extension(self) -> dict[str, Any]:
        """What is plain data in the extension."""
        return extension(self.extension_bytes)[0]

    def __iter__(self) -> Iterator[Record]:
        for record, blob in self.with_blobs():
            if blob is not None:
                self.blobs[record.oid, record.tid] = blob
            yield record

    def with_blobs(self) -> Iterator[tuple[Record, tuple[int, str] | None]]:
        """Yield the records, and of blobs size and SHA-256."""
        while not self.read:
            yield from self._part.records(self)


class PartReader:
    """A part that is read.

    :param path: of the part.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: BinaryIO = open(path, 'rb', _BUFFER)
        self._size = os.fstat(self._file.fileno()).st_size
        if self._file.read(len(MAGIC)) != MAGIC:
            self.close()
            raise Different(f'{path} is not a part of a backup, or it is damaged')
        self._next = b''  # the kind of the frame that was begun

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def __iter__(self) -> Iterator[BackedUp]:
        """Yield its transactions.

        :raises Different: where it is damaged.
        """
        while (kind := self._kind()) == b'T':
            head = _TRANSACTION.unpack(self._read(_TRANSACTION.size))
            if head[1] not in b' pu':
                raise self._damaged()
            found = BackedUp(self, head, [self._read(length) for length in head[2:]])
            yield found
            for _ in found:
                pass
        if kind != b'Z':
            raise self._damaged()

    def records(self, transaction: BackedUp) -> Iterator[tuple[Record, tuple[int, str] | None]]:
        """Yield the rest of a transaction."""
        kind = self._kind()
        while kind == b'R':
            oid, tid, behind, length = _RECORD.unpack(self._read(_RECORD.size))
            data = None if length == -1 else self._read(length)
            record = Record(oid, tid, data, None if behind == z64 else behind)
            kind, blob = self._kind(), None
            if kind == b'B':
                size, digest = _BLOB.unpack(self._read(_BLOB.size))
                kind, blob = self._kind(), (size, digest.hex())
            self._next = kind
            yield record, blob
            kind = self._kind()
        if kind != b'E':
            raise self._damaged()
        transaction.read = True

    def _kind(self) -> bytes:
        """Return the kind of the next frame."""
        kind, self._next = self._next, b''
        return kind or self._read(1)

    def _read(self, length: int) -> bytes:
        is_large = not 0 <= length <= _BUFFER
        if is_large and not 0 <= length <= self._size - self._file.tell():
            raise self._damaged()  # before memory is taken for it
        found = self._file.read(length)
        if len(found) < length:
            raise self._damaged()
        return found

    def _damaged(self) -> Different:
        return Different(f'{self.path} is damaged at byte {self._file.tell()}')
