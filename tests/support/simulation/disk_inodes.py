"""What lies on a simulated disk: files as bytes and a log of what was not synced yet.

Enters: writes and truncations. Leaves: the bytes that a process sees; after a crash of the machine,
bytes that a journalling file system may have kept. Fails: never.

What a crash keeps of a file that was not synced:

- Each sector holds what it held at some moment since the last sync, and each its own moment: the
  page cache is written back in any order.
- The length is one that the file had, or any multiple of a sector in between: it grows whenever
  some part of the data behind it was written, and what was not written reads as zeros.
- Truncations are kept in order, together with all other changes of metadata. A kept one has zeroed
  what was behind it before; behind one that was lost nothing can have been written later, unless in
  a block that the file had kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SECTOR = 512  # bytes that a disk writes as a whole, or not at all
BLOCK = 4096  # bytes that a file system gives to a file at once

#: Chooses a moment from the first to the last, both included.
Choice = Callable[[int, int], int]


@dataclass(slots=True)
class Change:
    """A write, or with a number a truncation, that is not on the disk for certain."""

    offset: int  # of a truncation: the new size
    before: bytes  # what was there, or what it has cut off
    after: bytes
    old_size: int
    new_size: int
    number: int = 0  # among the changes of metadata; 0: a write


class Inode:
    """A file, or a directory: then `names` is not None."""

    __slots__ = ('data', 'last', 'lock', 'log', 'mtime', 'names', 'number', 'sectors')

    def __init__(self, number: int, mtime: int, is_directory: bool = False) -> None:
        self.number = number
        self.mtime = mtime  # nanoseconds
        self.names: dict[str, Inode] | None = {} if is_directory else None
        self.data = bytearray()
        self.log: list[Change] = []
        self.sectors: set[int] = set()  # that take space on the disk
        self.last = 0  # number of the last change of metadata that concerns it
        self.lock: object | None = None  # the open file that holds its lock

    def write(self, offset: int, data: bytes) -> None:
        """Write at an offset, which may be behind the end."""
        size, end = len(self.data), offset + len(data)
        before = bytes(self.data[offset:end])
        if offset > size:
            self.data.extend(bytes(offset - size))
        self.data[offset:end] = data
        self.sectors.update(range(offset // SECTOR, -(-end // SECTOR)))
        self.log.append(Change(offset, before, data, size, len(self.data)))

    def resize(self, size: int, number: int) -> None:
        """Cut, or let grow by zeros.

        :param number: of this change of metadata.
        """
        old = len(self.data)
        cut = bytes(self.data[size:])
        _set_length(self.data, size)
        if cut:
            end = -(-size // SECTOR)
            self.sectors = {sector for sector in self.sectors if sector < end}
        self.log.append(Change(size, cut, b'', old, size, number))
        self.last = number

    def survive(self, cut: int, choose: Choice, rng: random.Random) -> None:
        """Become what a crash of the machine leaves.

        :param cut: the last change of metadata that was kept.
        :param choose: the moments that sectors come from.
        """
        log = self.log
        if not log or self.names is not None:
            return
        kept = [at for at, change in enumerate(log) if 0 < change.number <= cut]
        lost = [at for at, change in enumerate(log) if change.number > cut]
        first, last = (kept[-1] + 1 if kept else 0), (lost[0] if lost else len(log))
        length = rng.choice(_lengths(log, first, last))
        content = self._synced()
        moments = _Moments(log, kept, last, choose)
        for at, change in enumerate(log):
            for sector in _touched(change):
                if at < moments[sector]:
                    _apply(content, change, sector * SECTOR)
        _set_length(content, length)
        self.data = content
        self.log = []

    def _synced(self) -> bytearray:
        content = bytearray(self.data)
        for change in reversed(self.log):
            if change.number:
                _set_length(content, change.new_size)
                content += change.before
            else:
                content[change.offset : change.offset + len(change.after)] = change.before
            _set_length(content, change.old_size)
        return content


class _Moments(dict[int, int]):
    """sector: how many of the changes may have reached it."""

    def __init__(self, log: list[Change], kept: list[int], last: int, choose: Choice) -> None:
        self._kept = [(at + 1, log[at].offset // SECTOR) for at in kept]
        self._all, self._last = len(log), last
        # the block that a lost truncation cuts is kept by the file: it may hold later writes
        is_lost = last < self._all
        self._limit = -(-log[last].offset // BLOCK) * BLOCK // SECTOR if is_lost else 0
        self._choose = choose

    def __missing__(self, sector: int) -> int:
        low = max((least for least, begin in self._kept if sector >= begin), default=0)
        high = self._last if sector >= self._limit else self._all
        self[sector] = chosen = self._choose(low, max(low, high))
        return chosen


def _lengths(log: list[Change], first: int, last: int) -> list[int]:
    found = [log[first - 1].new_size if first else log[0].old_size]
    for change in log[first:last]:
        if change.new_size > change.old_size and not change.number:
            begin = (change.old_size // SECTOR + 1) * SECTOR
            found += range(begin, change.new_size, SECTOR)
        found.append(change.new_size)
    return found


def _touched(change: Change) -> Iterator[int]:
    end = change.offset + len(change.before if change.number else change.after)
    yield from range(change.offset // SECTOR, -(-end // SECTOR))


def _apply(content: bytearray, change: Change, begin: int) -> None:
    """Make a change in the sector that begins there."""
    if change.number:
        low = max(begin, change.offset)
        content[low : begin + SECTOR] = bytes(max(min(begin + SECTOR, len(content)) - low, 0))
        return
    low, high = max(begin, change.offset), min(begin + SECTOR, change.offset + len(change.after))
    if len(content) < high:
        _set_length(content, high)
    content[low:high] = change.after[low - change.offset : high - change.offset]


def _set_length(content: bytearray, length: int) -> None:
    if length < len(content):
        del content[length:]
    else:
        content.extend(bytes(length - len(content)))
