"""Transactions of a primary, written to a replica's file together.

Enters: transactions and their records, as the primary iterates over them. Leaves: the same bytes in
the file as at the primary, on the disk; then what a storage has to take note of. Fails: OSError
where the disk does; :class:`NotFollowed` for what does not fit behind the file.

The first transaction of a group is marked as unfinished until the whole group is on the disk, which
is what FileStorage does with each of its own: a process that is killed before leaves a file that
ends with the transaction before the group. So many transactions share one or two syncs.

A record that takes its data from an earlier transaction points to it, as at the primary: undo looks
at that. The records of packed transactions name no earlier revision, because a pack has removed
what was between the two.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import Any

from ZODB.FileStorage.format import (
    DATA_HDR,
    DATA_HDR_LEN,
    TRANS_HDR,
    TRANS_HDR_LEN,
    DataHeaderFromString,
)
from ZODB.fsIndex import fsIndex
from ZODB.utils import p64, u64

from ZEO.replica.errors import NotFollowed
from ZEO.replica.unfinished import STATUS, UNFINISHED

#: Bytes that are written at once; a larger record is written by itself.
_PIECE = 1 << 20

#: Objects of a transaction from which on its index is a compact one, which is slower.
_MANY = 20_000

_data_header = Struct(DATA_HDR).pack
_transaction_header = Struct(TRANS_HDR)

#: What a FileStorage has for users, descriptions and extensions, each.
_LONGEST = 65535


class Group:
    """Transactions that are being written behind the last one of a FileStorage.

    The storage's commit lock is held from the first transaction to the end of the group.

    :param storage: the replica, whose file is written to.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._fd = storage._file.fileno()
        self._begin = self._at = storage._pos  # where the next byte comes
        self._written = self._begin
        self._parts: list[bytes] = []  # of what is between the two
        self._points_back = not storage.is_packing
        self.last = storage._ltid
        #: oid -> where the last record is
        self.index: Any = {}
        #: tid and oids of each transaction
        self.changes: list[tuple[bytes, Any]] = []
        self.blobs: list[tuple[bytes, bytes]] = []
        self._found: dict[bytes, int] = {}  # tid -> where an earlier transaction is
        self._header: tuple[Any, ...] = ()
        self._open = 0  # where the transaction begins that is being written
        # which of the parts its header is, as long as that is not written
        self._header_part: int | None = None
        self._status = b' '  # of the first transaction
        self._packed = False
        self._count = 0  # of its records
        self._own: Any = {}  # oid -> where its last record is in that transaction
        if os.fstat(self._fd).st_size != self._begin:  # what has failed could not be removed
            os.ftruncate(self._fd, self._begin)

    @property
    def size(self) -> int:
        """How many bytes it has so far."""
        return self._at - self._begin

    @property
    def end(self) -> int:
        """Where it ends."""
        return self._at

    # Writing.

    def begin(
        self, tid: bytes, status: str, user: bytes, description: bytes, extension: bytes
    ) -> None:
        """Begin a transaction.

        :raises NotFollowed: when a file cannot hold it, or not behind the last one.
        """
        if tid <= self.last:
            raise NotFollowed(
                f'the primary has sent transaction {tid.hex()}, which is not later than '
                f'{self.last.hex()}, the last one of this replica'
            )
        if status not in (' ', 'p', 'u'):
            raise NotFollowed(f'transaction {tid.hex()} has an unknown status, {status!r}')
        texts = user, description, extension
        if max(map(len, texts)) > _LONGEST or TRANS_HDR_LEN + sum(map(len, texts)) > _LONGEST:
            raise NotFollowed(
                f'the user, description and extension of transaction {tid.hex()} are too long for '
                f'a FileStorage, which holds {_LONGEST} bytes of them'
            )
        self._open, self._header = self._at, (tid, status, texts)
        self._header_part = len(self._parts)
        self._packed = status == 'p'
        self._own, self._count = {}, 0
        # the length comes when it is known
        self._put(self._made_header(0, UNFINISHED) + b''.join(texts))

    def _made_header(self, length: int, status: bytes) -> bytes:
        tid, _, texts = self._header
        return _transaction_header.pack(tid, length, status, *map(len, texts))

    def add(self, oid: bytes, tid: bytes, data: bytes | None, source: bytes | None) -> None:
        """Write a record.

        :param data: None for an object that is gone.
        :param source: the transaction in which the data is, or None.
        :raises NotFollowed: when the record does not belong to the transaction.
        """
        if tid != self._header[0]:
            raise NotFollowed(
                f'transaction {self._header[0].hex()} of the primary has a record of another '
                f'transaction, {tid.hex()}'
            )
        before = 0 if self._packed else self._before(oid)
        back = 0
        if source is not None and self._points_back:
            back = self._place_of(oid, data, source)
        if data and not back:
            head = _data_header(oid, tid, before, self._open, 0, len(data))
        else:
            head = _data_header(oid, tid, before, self._open, 0, 0)
            data = p64(back)
        self._own[oid] = self._at
        self._count += 1  # the length of a compact index takes long
        if self._count == _MANY:
            self._own = _compact(self._own)
        if len(data) > _PIECE:
            self._put(head)
            self._put(data)
        else:
            self._put(head + data)

    def finish(self) -> None:
        """The transaction is complete."""
        tid, status, texts = self._header
        length = self._at - self._open
        self._put(p64(length))
        mark = status.encode('ascii')
        if self._open == self._begin:
            self._status, mark = mark, UNFINISHED
        self._replace_header(self._made_header(length, mark) + b''.join(texts))
        self.changes.append((tid, list(self._own)))
        self._note_index()
        self.last = tid

    def _note_index(self) -> None:
        if len(self.changes) == 1:
            self.index = self._own
            return
        if isinstance(self.index, dict) and len(self.index) + self._count > _MANY:
            self.index = _compact(self.index)
        self.index.update(self._own)

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self._at += len(data)
        if self._at - self._written >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if not parts:
            return
        _write(self._fd, b''.join(parts) if len(parts) > 1 else parts[0], self._written)
        self._written = self._at
        self._header_part = None

    def _replace_header(self, data: bytes) -> None:
        """Replace the header of the transaction that is being written."""
        if self._header_part is not None:  # it has not been written yet
            self._parts[self._header_part] = data
        else:
            _write(self._fd, data, self._open)

    # Looking back.

    def _before(self, oid: bytes) -> int:
        return self.index.get(oid) or self._storage._index.get(oid, 0)

    def _place_of(self, oid: bytes, data: bytes | None, source: bytes) -> int:
        """Return where the record of an object in an earlier transaction is, if its data is this;
        else 0.
        """
        self._flush()
        at = self._revision(oid, source)
        if not at:
            return 0
        header = self._header_at(at)
        if header.plen and self._pread(at + DATA_HDR_LEN, header.plen) != data:
            return 0
        return at

    def _revision(self, oid: bytes, source: bytes) -> int:
        at, tid = self._before(oid), b''
        while at:
            header = self._header_at(at)
            tid = header.tid
            if tid <= source:
                break
            at = header.prev
        if at:
            return at if tid == source else 0
        # a packed record does not name the revision before it
        return self._in_transaction(oid, self._transaction(source))

    def _transaction(self, tid: bytes) -> int:
        """Return where a transaction begins; 0 if there is none."""
        found = self._found.get(tid)
        if found is None:
            found = self._found[tid] = self._look_for(tid)
        return found

    def _look_for(self, tid: bytes) -> int:
        at = self._open
        while at > 39:
            at -= 8 + u64(self._pread(at - 8, 8))
            found = self._pread(at, 8)
            if found <= tid:
                return at if found == tid else 0
        return 0

    def _in_transaction(self, oid: bytes, at: int) -> int:
        """Return where the last record of an object in a transaction is; 0 if there is none."""
        if not at:
            return 0
        head = self._pread(at, TRANS_HDR_LEN)
        _, length, _, *texts = _transaction_header.unpack(head)
        end = at + length
        at += TRANS_HDR_LEN + sum(texts)
        found = 0
        while at < end:
            header = self._header_at(at)
            if header.oid == oid:
                found = at
            at += header.recordlen()
        return found

    def _header_at(self, at: int) -> Any:
        return DataHeaderFromString(self._pread(at, DATA_HDR_LEN))

    def _pread(self, at: int, length: int) -> bytes:
        found = os.pread(self._fd, length, at)
        if len(found) < length:
            raise OSError(f'{self._storage._file_name} ends at byte {at + len(found)}')
        return found

    # The end.

    def sync(self) -> None:
        """Return when all is on the disk, and no longer marked as unfinished."""
        self._flush()
        if len(self.changes) > 1:
            os.fsync(self._fd)
        _write(self._fd, self._status, self._begin + STATUS)
        os.fsync(self._fd)

    def undo(self) -> None:
        """Remove what was written."""
        os.ftruncate(self._fd, self._begin)


def _write(fd: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, at)
        rest, at = rest[written:], at + written


def _compact(index: Any) -> Any:
    compact = fsIndex()
    compact.update(index)
    return compact
