"""The revisions of all objects in order, and whether the file or storage that holds them is sound.

Enters: a source. Leaves: its records, each with a number that says which of an object is the last;
what is wrong, as findings. Fails: ClientDisconnected when a server is lost, OSError where the disk
does.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, Protocol

from ZODB.fsIndex import fsIndex
from ZODB.utils import u64, z64

from ZEO.data.datafile import DataFile, Entry, Header
from ZEO.data.history import named
from ZEO.data.outcome import Different, Findings
from ZEO.data.sources import FileSource, Record, Source

STRUCTURE = 'damage of the structure'
INDEX = 'differences between index and file'
ORDER = 'transactions in the wrong order'

#: Entries of an index that are named if they differ.
_MOST_ENTRIES = 3


class Revisions(Protocol):
    """All records of a source, in order, as often as wanted."""

    findings: Findings
    transactions: int  # that were seen
    last: bytes  # the tid of the last one
    notes: list[str]  # what an operator should know, although nothing is wrong

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        """Yield each record with a number, which fits into an fsIndex: of an object's records the
        last one has the highest.
        """

    def first_time(self, index: fsIndex) -> Iterator[tuple[int, Record]]:
        """Yield the same, and check everything on the way.

        :param index: has, for each object, the number of its last record so far.
        """

    def close(self) -> None:
        """Close it."""


def revisions(source: Source, findings: Findings) -> Revisions:
    """Return the records of a source."""
    if isinstance(source, FileSource):
        return FileRevisions(source.path, findings)
    return StorageRevisions(source, findings)


class StorageRevisions:
    """The records of an open storage."""

    def __init__(self, source: Source, findings: Findings) -> None:
        self.findings, self._source = findings, source
        self._stop = source.last_tid()
        self.transactions, self.last = 0, z64
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        return self._records(lambda transaction: None)

    def first_time(self, index: fsIndex) -> Iterator[tuple[int, Record]]:
        return self._records(self._check)

    def _check(self, transaction: Any) -> None:
        self.transactions += 1
        if transaction.tid <= self.last:
            self.findings.add(
                ORDER, f'{named(transaction.tid)} comes after {named(self.last)}, which is later'
            )
        self.last = transaction.tid

    def _records(self, check: Any) -> Iterator[tuple[int, Record]]:
        for transaction in self._source.transactions(None, self._stop):
            check(transaction)
            for record in transaction:
                # without the last two bytes, which are about a millisecond
                yield u64(record.tid) >> 16, record

    def close(self) -> None:
        """The source is closed by who has opened it."""


class FileRevisions:
    """The records in a file; a pack that replaces the file meanwhile changes nothing."""

    def __init__(self, path: str, findings: Findings) -> None:
        self.findings, self._path = findings, path
        self._file = DataFile(path)
        self.transactions, self.last = 0, z64
        self.notes: list[str] = []
        self._end = self._file.size  # of what can be read

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        for header in self._file.headers():
            if header.position >= self._end:
                return
            for entry, data in self._file.entries(header):
                yield entry.position, self._record(entry, data)

    def first_time(self, index: fsIndex) -> Iterator[tuple[int, Record]]:
        saved = _saved(self._path, self.findings)
        position = 4
        try:
            for header in self._file.headers():
                saved = self._compare(saved, index, header.position)
                yield from self._checked(header, index)
                position = header.end
        except Different as error:
            self._end = position
            self.findings.add(STRUCTURE, str(error))
            return
        saved = self._compare(saved, index, position)
        self._look_at_end(position, saved)

    def _checked(self, header: Header, index: fsIndex) -> Iterator[tuple[int, Record]]:
        self.transactions += 1
        if header.tid <= self.last:
            self._wrong(header, ORDER, f'its tid is not after {self.last.hex()}')
        self.last = header.tid
        if self._file.number_at(header.end - 8) != header.length:
            self._wrong(header, STRUCTURE, 'its length at its end differs from that in its head')
        end = header.records
        for entry, data in self._file.entries(header):
            what = _wrong_in(entry, header, index.get(entry.oid, 0))
            if what:
                self._wrong(header, STRUCTURE, f'the record at byte {entry.position}: {what}')
            end = entry.end
            yield entry.position, self._record(entry, data)
        if end != header.end - 8:
            self._wrong(header, STRUCTURE, 'its records do not end where it ends')

    def _wrong(self, header: Header, kind: str, what: str) -> None:
        self.findings.add(
            kind, f'{self._path}: {named(header.tid)} at byte {header.position}: {what}'
        )

    def _record(self, entry: Entry, data: bytes | None) -> Record:
        if data is not None:
            return Record(entry.oid, entry.tid, data, None)
        return Record(entry.oid, entry.tid, *self._file.behind(entry))

    def _compare(self, saved: Any, index: fsIndex, position: int) -> Any:
        """Compare the saved index with the file when that is read up to where the index was saved;
        return the index as long as it was not compared.
        """
        if saved is None or position < saved['pos']:
            return saved
        if position > saved['pos']:
            what = f'it ends at byte {saved["pos"]}, where no transaction ends'
            self._wrong_index(what)
        else:
            for what in _differences(saved['index'], index):
                self._wrong_index(what)
        return None

    def _wrong_index(self, what: str) -> None:
        self.findings.add(
            INDEX, f'{self._path}.index: {what}; remove it, and the next start makes it anew'
        )

    def _look_at_end(self, position: int, saved: Any) -> None:
        if saved is not None:
            self._wrong_index(f'it ends at byte {saved["pos"]}, behind the end of the file')
        if position < self._file.size:
            self.notes.append(
                f'{self._file.size - position} bytes at the end, from byte {position} on, are a '
                'commit in progress, or one that was cut short; the next start of a server cuts '
                'them off'
            )

    def close(self) -> None:
        self._file.close()


def _wrong_in(entry: Entry, header: Header, before: int) -> str:
    """Return what is wrong with the head of a record; an empty text for nothing.

    :param before: where the object's record before it begins.
    """
    if entry.tid != header.tid:
        return 'its tid is not that of its transaction'
    if entry.transaction != header.position:
        return 'it does not point to its transaction'
    if entry.version:
        return 'it has a version'
    if entry.previous != before:
        return f'it points to byte {entry.previous} as the object before it, which is at {before}'
    return ''


def _saved(path: str, findings: Findings) -> Any:
    """Return the saved index of a file; None if there is none, or it cannot be read."""
    try:
        return _read_index(f'{path}.index')
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever an unpickler comes to in a damaged file
        findings.add(INDEX, f'{path}.index cannot be read ({type(error).__name__}): remove it')
        return None


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers and bytes: an index, also one from elsewhere, names no class."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f'it names {module}.{name}')


def _read_index(path: str) -> dict[str, Any]:
    """Return what ``fsIndex.load`` does, without running any code."""
    with open(path, 'rb') as file:
        unpickler = _PlainUnpickler(file)
        position = unpickler.load()
        if type(position) is not int or position < 0:
            raise ValueError('it does not begin with a position')
        buckets = list(iter(unpickler.load, None))
    index = fsIndex()
    index.__setstate__({'state_version': 1, '_data': buckets})
    return {'pos': position, 'index': index}


def _differences(saved: fsIndex, made: fsIndex) -> Iterator[str]:
    """Yield a text for each of the first differences between two indexes."""
    shown = 0
    for oid, position in saved.iteritems():
        if made.get(oid) != position:
            yield f'object {oid.hex()} is at byte {made.get(oid)} of the file, not at {position}'
            shown += 1
            if shown == _MOST_ENTRIES:
                return
    if not shown and len(saved) != len(made):
        yield f'it has {len(saved)} objects, and the file {len(made)}'
