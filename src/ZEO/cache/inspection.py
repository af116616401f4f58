"""What is in a cache file, and whether all of it checks; the file is only read.

Enters: the path of a file that no process has open. Leaves: a report. Fails: OSError when it
cannot be read, ClientStorageError when a process has it open.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from ZEO.cache import format
from ZEO.cache.cache_file import CacheFile, FileLock
from ZEO.cache.index import PLACE_SHIFT, Index
from ZEO.cache.opening import check_usable, load_index
from ZEO.cache.recovery import verify


@dataclass
class Report:
    """What is in a cache file."""

    problems: list[str] = field(default_factory=list)  # empty: all is well
    usable: bool = True  # whether it is a cache file at all
    size: int = 0  # bytes
    identity: str = ''
    state: format.State = field(default_factory=format.State)
    records: int = 0
    current: int = 0
    record_bytes: int = 0  # headers and padding included
    data_bytes: int = 0
    gap_bytes: int = 0
    largest: int = 0  # bytes of data

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield (name, value) of everything that is shown."""
        state = self.state
        yield 'file size', f'{self.size:,} bytes'
        yield 'belongs to', self.identity or '(not said)'
        yield 'closed properly', 'yes' if state.clean else 'no'
        yield 'last transaction', state.last_tid.hex() if state.last_tid else 'none'
        yield 'records', f'{self.records:,}'
        yield 'current revisions', f'{self.current:,}'
        yield 'other revisions', f'{self.records - self.current:,}'
        yield 'taken by records', f'{self.record_bytes:,} bytes'
        yield 'free', f'{self.gap_bytes:,} bytes'
        if self.records:
            yield 'mean data', f'{self.data_bytes // self.records:,} bytes'
            yield 'largest data', f'{self.largest:,} bytes'
        yield 'stored so far', f'{state.stores:,}'
        loads = state.hits + state.misses
        rate = f' ({100 * state.hits / loads:.1f} %)' if loads else ''
        yield 'hits so far', f'{state.hits:,} of {loads:,} loads{rate}'
        for problem in self.problems:
            yield 'problem', problem


def inspect(path: str) -> Report:
    """Read the whole cache file at path.

    :raises OSError: when it cannot be read.
    :raises ClientStorageError: when a process has it open.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, 'O_BINARY', 0))
    file = CacheFile(fd, path)
    report = Report()
    try:
        if not _is_usable(file, report):  # and no lock is made beside another program's file
            return report
        lock = FileLock(path)
        try:
            lock.take()
            _inspect(file, report)
        finally:
            lock.close()
    finally:
        file.close()
    return report


def _is_usable(file: CacheFile, report: Report) -> bool:
    report.size = os.fstat(file.fd).st_size
    try:
        format.parse_header(file.read(0, format.RING_START))
    except ValueError as error:
        report.usable = False
        report.problems.append(str(error))
    return report.usable


def _inspect(file: CacheFile, report: Report) -> None:
    report.size = os.fstat(file.fd).st_size
    try:
        size, owner = format.parse_header(file.read(0, format.RING_START))
        report.identity = owner.decode(errors='replace')
        check_usable(file, size, owner, '')
    except ValueError as error:
        report.problems.append(f'it would not be used: {error}')
        return
    report.state = file.state
    if report.size != size:
        report.problems.append(f'it should have {size} bytes')
    places = _inspect_ring(file, report)
    if file.state.clean and file.state.index_at:
        _inspect_index(file, places, report)


def _inspect_index(file: CacheFile, places: set[int], report: Report) -> None:
    index = Index()
    if not load_index(file, index):
        report.problems.append('the saved index is damaged; it would be made anew')
        return
    indexed = {value >> PLACE_SHIFT for _, value in index.current_items()} | {
        place for _, place in index.closed_items()
    }
    if indexed != places:
        report.problems.append(
            f'the saved index lacks {len(places - indexed)} of the records, '
            f'and has {len(indexed - places)} that are not there'
        )


def _inspect_ring(file: CacheFile, report: Report) -> set[int]:
    """Check everything in the ring; return the places of the records."""
    current: set[bytes] = set()
    places: set[int] = set()
    for entry in verify(file):
        header = entry.header
        length = entry.units * format.UNIT
        if header is not None:
            places.add(entry.place)
            report.records += 1
            report.record_bytes += length
            report.data_bytes += header.length
            report.largest = max(report.largest, header.length)
            if header.end == format.NO_TID:
                report.current += 1
                if header.oid in current:
                    report.problems.append(f'two current revisions of {header.oid.hex()}')
                current.add(header.oid)
        elif entry.is_gap:
            report.gap_bytes += length
        else:
            place = entry.place * format.UNIT
            report.problems.append(f'{length} bytes at {place} are damaged')
    return places
