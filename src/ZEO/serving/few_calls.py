"""A FileStorage that writes a transaction with few system calls.

Enters: calls of a storage. Leaves: the bytes that FileStorage writes for the same calls, at the
same moments. Fails: as FileStorage does.

FileStorage collects a transaction in a temporary file, which it copies behind the others in the
vote: for one object it makes 11 `lseek`, 3 `write` and 2 `read`. Here it is collected in memory, as
long as it is small, and written with one call. As with FileStorage it has the mark of one that is
not finished from the vote on, and loses that mark when it finishes. The tids of the records that
were written last are remembered; that of another one is read with one call.

What is unusual is left to FileStorage's own methods: large transactions, conflicts, undo. A server
has a large transaction written in short steps before the vote (:meth:`FewCallsFileStorage.voting`).
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from struct import Struct
from typing import Any

from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.format import DATA_HDR, TRANS_HDR
from ZODB.POSException import StorageTransactionError
from ZODB.utils import p64

from ZEO.serving.many import ManyPlaces

#: Bytes of one transaction that are collected in memory; more go to the temporary file.
MOST_IN_MEMORY = 1024 * 1024

#: Bytes of that memory that stay from one transaction to the next.
KEPT_IN_MEMORY = 64 * 1024

#: Bytes of a large transaction that are copied at a time, which takes 1 ms.
COPIED_AT_ONCE = 1024 * 1024

#: Records whose tids are remembered, at some 150 bytes each.
MOST_TIDS = 10_000

_record_header = Struct(DATA_HDR).pack
_transaction_header = Struct(TRANS_HDR).pack


class _Collected(io.BytesIO):
    """What a transaction consists of, in memory.

    :param file: FileStorage's own temporary file, where it goes when it is large.
    """

    def __init__(self, file: Any) -> None:
        super().__init__()
        self.file = file

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()
        super().close()


class FewCallsFileStorage(FileStorage):
    """A FileStorage; its arguments are those of FileStorage."""

    _collected: _Collected | None = None  # nothing is, where it is read-only
    _is_copied = False  # whether records may have another tid than their transaction
    #: Whether the transaction takes long to vote for, so that :meth:`voting` is worth its call.
    is_large = False

    #: Bytes of records of a large transaction that are in the file before its vote.
    written_ahead = 0
    _file: Any
    _oid: bytes
    _tfile: Any
    _tindex: Any
    _pos: int
    _nextpos: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self._tfile is not None:
            self._tfile = self._tfmt._file = self._collected = _Collected(self._tfile)

    def _initIndex(self, index: Any, tindex: Any) -> None:
        super()._initIndex(index, tindex)
        #: Tids of records by their places, which are others in the file of a pack.
        self._tids: dict[int, bytes] = {}

    # What is collected.

    def _clear_temp(self) -> None:
        collected = self._collected
        if collected is None:
            super()._clear_temp()
            return
        if self.is_large:
            self._forget_places()
        else:
            self._tindex.clear()
        self._is_copied = False
        if collected.closed and not collected.file.closed:
            # it closes itself where there is no memory to grow
            collected = self._collected = _Collected(collected.file)
        if collected.tell() > KEPT_IN_MEMORY:
            collected.truncate(KEPT_IN_MEMORY)
        collected.seek(0)
        if self._tfile is not collected:
            self._tfile = self._tfmt._file = collected
            self.is_large, self.written_ahead = False, 0

    def _forget_places(self) -> None:
        """Forget those of a large transaction."""
        self._tindex = {}

    def _make_room(self, size: int) -> None:
        """See that this many bytes of the transaction may come: in the file, past the bound."""
        collected = self._collected
        if collected is not None and self._tfile is collected:
            end = collected.tell()
            if end + size > MOST_IN_MEMORY:
                self.is_large, self._tindex = True, ManyPlaces(self._tindex)
                file = self._tfile = self._tfmt._file = collected.file
                file.seek(0)
                file.write(collected.getvalue()[:end])

    def store(
        self, oid: bytes, oldserial: bytes, data: bytes, version: str, transaction: Any
    ) -> None:
        with self._lock:
            file, collected = self._tfile, self._collected
            if transaction is self._transaction and collected is not None and not version:
                length = file.tell()
                if length + len(data) > MOST_IN_MEMORY:
                    self._make_room(len(data))
                    file = self._tfile
                old = self._index_get(oid, 0)
                if self._quota is None and (not old or self._tid_at(old, oid) == oldserial):
                    if oid > self._oid:
                        self._oid = oid
                    self._tindex[oid] = self._pos + self._thl + length
                    file.write(_record_header(oid, self._tid, old, self._pos, 0, len(data)))
                    file.write(data)
                    return
            super().store(oid, oldserial, data, version, transaction)

    def _tid_at(self, place: int, oid: bytes) -> bytes | None:
        """Return the tid of the record of an object; something else if it is not there."""
        tid = self._tids.get(place)
        if tid is None:
            header = read_at(self._file, 16, place)
            if header[:8] == oid:
                tid = header[8:]
        return tid

    def restore(
        self,
        oid: bytes,
        serial: bytes,
        data: bytes | None,
        version: str,
        prev_txn: bytes | None,
        transaction: Any,
    ) -> None:
        with self._lock:
            if transaction is self._transaction:
                self._make_room(len(data or b''))
                self._is_copied = True
                if data and prev_txn is None and self._collected is not None:
                    file = self._tfile
                    if oid > self._oid:
                        self._oid = oid
                    old = self._index_get(oid, 0)
                    self._tindex[oid] = self._pos + self._thl + file.tell()
                    file.write(_record_header(oid, serial, old, self._pos, 0, len(data)))
                    file.write(data)
                    return
            super().restore(oid, serial, data, version, prev_txn, transaction)

    def undo(self, transaction_id: bytes, transaction: Any) -> Any:
        with self._lock:
            if transaction is self._transaction:
                self._make_room(MOST_IN_MEMORY + 1)  # it may be as large as any
            return super().undo(transaction_id, transaction)

    # Writing.

    def voting(self, transaction: Any) -> Iterator[None]:
        """Write what is large of a transaction before it is voted for, in steps of a millisecond;
        nothing may be stored any more.
        """
        with self._lock:
            collected, file = self._collected, self._tfile
            if transaction is not self._transaction or collected is None or file is collected:
                return
            length = file.tell()
            file.flush()
            size = self._thl + length
            self._nextpos = self._pos + size + 8  # from now on, an abort cuts off what there is
            self._write_ahead(b''.join((self._header(size), *self._ude)), self._pos)
        done, begin = 0, self._pos + self._thl
        while done < length:
            with self._lock:
                if transaction is not self._transaction:  # it was aborted
                    return
                data = read_at(file, min(COPIED_AT_ONCE, length - done), done)
                if not data:
                    raise OSError(errno.EIO, 'the temporary file of the transaction was cut')
                self._write_ahead(data, begin + done)
                done += len(data)
                if done == length:
                    self.written_ahead = length
            yield

    def _write_ahead(self, data: bytes, place: int) -> None:
        try:
            write_at(self._file, data, place)
        except BaseException:
            self._file.truncate(self._pos)
            self._files.flush()
            raise

    def _header(self, size: int) -> bytes:
        user, description, extension = self._ude
        lengths = len(user), len(description), len(extension)
        return _transaction_header(self._tid, size, b'c', *lengths)

    def tpc_vote(self, transaction: Any) -> Any:
        with self._lock:
            if transaction is not self._transaction:
                raise StorageTransactionError('tpc_vote called with wrong transaction')
            collected = self._collected
            if collected is None or self._tfile is not collected:
                if not self.written_ahead:
                    return super().tpc_vote(transaction)
                size = self._thl + self.written_ahead
                self._write_ahead(p64(size), self._pos + size)
                return self._resolved
            length = collected.tell()
            user, description, extension = self._ude
            size = self._thl + length
            header = _transaction_header(
                self._tid, size, b'c', len(user), len(description), len(extension)
            )
            collected.seek(0)
            records = collected.read(length)
            try:
                write_at(
                    self._file,
                    b''.join((header, user, description, extension, records, p64(size))),
                    self._pos,
                )
            except BaseException:
                self._file.truncate(self._pos)
                self._files.flush()
                raise
            self._nextpos = self._pos + size + 8
            return self._resolved

    def _finish_finish(self, tid: bytes) -> None:
        super()._finish_finish(tid)
        self._note_tids()

    def _note_tids(self) -> None:
        """Remember the tid of the records of the transaction, which is the last one now."""
        tids = self._tids
        if self._is_copied:
            return
        if len(tids) + len(self._tindex) > MOST_TIDS:
            tids.clear()
        if len(self._tindex) <= MOST_TIDS:
            tids.update(dict.fromkeys(self._tindex.values(), self._tid))


def read_at(file: Any, size: int, place: int) -> bytes:
    """Read at a place, with one call where the system has it.

    :param file: open for reading and writing, with nothing in its buffer that is to be written.
    """
    if hasattr(os, 'pread'):
        return os.pread(file.fileno(), size, place)
    file.seek(place)
    return file.read(size)


def write_at(file: Any, data: bytes, place: int) -> None:
    """Write behind everything else in the file, with one call where the system has it.

    :raises OSError: when not all of it could be written.
    """
    if not hasattr(os, 'pwrite'):
        file.seek(place)
        file.write(data)
        file.flush()
        return
    fd = file.fileno()
    written = os.pwrite(fd, data, place)
    while written < len(data):  # most likely the disk is full, which the next call says
        more = os.pwrite(fd, data[written:], place + written)
        if not more:
            raise OSError(errno.EIO, f'the system writes nothing at {place + written}')
        written += more
