"""Which object refers to which: references that lead nowhere, and objects that nothing leads to.

Enters: the last record of every object. Leaves: paths of classes to references without an object;
the number of objects that cannot be reached from the root. Fails: never; records that cannot be
read are findings.

An object takes about 30 bytes here, and a reference 4, so that databases of many millions of
objects fit into memory.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from ZODB.fsIndex import fsIndex
from ZODB.serialize import referencesf
from ZODB.utils import p64, u64

from ZEO.data.outcome import Findings
from ZEO.wire.guarded import Unreadable, class_name, references
from ZEO.wire.tame import is_tame

UNRESOLVED = 'references without an object'
UNREADABLE = 'records that cannot be read'

#: Wrong references that are kept until their paths are known.
_MOST = 1000

#: Steps of a path that are shown; the others are left out in the middle.
_LONGEST_PATH = 12

#: Bytes that a compressed record may have when it is not compressed any more.
_LARGEST = 1 << 30

_NONE = 2**32 - 1


def plain(data: bytes) -> bytes:
    """Return a record without the compression of ``zc.zlibstorage``.

    :raises Unreadable: when it is damaged.
    """
    if not data.startswith(b'.z'):
        return data
    try:
        return zlib.decompressobj().decompress(data[2:], _LARGEST)
    except zlib.error as error:
        raise Unreadable(f'compressed data: {error}') from None


def targets(data: bytes) -> list[bytes]:
    """Return the oids that a record refers to.

    :raises Unreadable: when it is not pickled as ZODB does.
    """
    record = plain(data)
    if is_tame(record):  # as most are: ZODB's own search is several times faster
        try:
            return referencesf(record)
        except Exception:  # the other one says what is wrong
            pass
    return references(record)


def unreadable(oid: bytes, tid: bytes, error: Unreadable) -> str:
    """Return the text about a record that cannot be read."""
    return f'the record of object {oid.hex()} in transaction {tid.hex()} cannot be read: {error}'


class Graph:
    """The objects of a database and their references.

    :param index: has all of their oids.
    """

    def __init__(self, index: fsIndex, findings: Findings) -> None:
        self._findings = findings
        self._oids = array('Q', (u64(oid) for oid in index))
        count = len(self._oids)
        self._starts = array('Q', bytes(8 * count))  # in `_edges`
        self._counts = array('I', bytes(4 * count))
        self._edges = array('I')
        self._classes = array('I', bytes(4 * count))  # in `_names`
        self._sizes = array('I', bytes(4 * count))  # of records; 0 for what is not there
        self._names: list[tuple[str, str]] = [('', '')]
        self._numbers: dict[tuple[str, str], int] = {('', ''): 0}
        self._parents = array('I', [_NONE]) * count
        self._lost: list[tuple[int, int]] = []  # number of an object, oid that is not there
        self.garbage = self.garbage_bytes = self.objects = 0

    def _number(self, oid: int) -> int:
        """Return the number of an object; -1 if there is none."""
        found = bisect_left(self._oids, oid)
        return found if found < len(self._oids) and self._oids[found] == oid else -1

    def add(self, oid: bytes, tid: bytes, data: bytes | None) -> None:
        """Take the last record of an object; None when that deletes it."""
        number = self._number(u64(oid))
        if number < 0:
            return
        if data is None:
            self._sizes[number] = 0
            return
        self._sizes[number] = min(len(data), _NONE) or 1
        try:
            self._classes[number] = self._class(class_name(plain(data)))
            found = targets(data)
        except Unreadable as error:
            self._findings.add(UNREADABLE, unreadable(oid, tid, error))
            return
        self._starts[number], self._counts[number] = len(self._edges), 0
        for target in found:
            self._refer(number, u64(target))

    def _class(self, names: tuple[str, str]) -> int:
        number = self._numbers.get(names)
        if number is None:
            number = self._numbers[names] = len(self._names)
            self._names.append(names)
        return number

    def _refer(self, number: int, target: int) -> None:
        found = self._number(target)
        if found < 0:
            self._lose(number, target)
        else:
            self._edges.append(found)
            self._counts[number] += 1

    def _lose(self, number: int, target: int) -> None:
        if len(self._lost) < _MOST:
            self._lost.append((number, target))
        else:
            self._findings.add(UNRESOLVED, self._text(number, target))

    def _targets(self, number: int) -> Iterator[int]:
        start = self._starts[number]
        return iter(self._edges[start : start + self._counts[number]])

    def finish(self) -> None:
        """Find references to deleted objects, and what the root does not lead to."""
        for number, size in enumerate(self._sizes):
            if size:
                self.objects += 1
                for target in self._targets(number):
                    if not self._sizes[target]:
                        self._lose(number, self._oids[target])
        self._walk()
        for number, size in enumerate(self._sizes):
            if size and self._parents[number] == _NONE:
                self.garbage, self.garbage_bytes = self.garbage + 1, self.garbage_bytes + size
        for number, target in self._lost:
            self._findings.add(UNRESOLVED, self._text(number, target))

    def _walk(self) -> None:
        """Note, for each object that can be reached, from which."""
        root = self._number(0)
        if root < 0 or not self._sizes[root]:
            return
        self._parents[root] = root
        waiting = array('I', [root])
        while waiting:
            number = waiting.pop()
            for target in self._targets(number):
                if self._parents[target] == _NONE and self._sizes[target]:
                    self._parents[target] = number
                    waiting.append(target)

    # Texts.

    def _text(self, number: int, target: int) -> str:
        return f'object {p64(target).hex()} is not there; it is referred to by {self._path(number)}'

    def _path(self, number: int) -> str:
        """Return how an object is reached from the root."""
        steps = [self._step(number)]
        if self._parents[number] == _NONE:
            return f'{steps[0]}, which cannot be reached from the root'
        while self._parents[number] != number:
            number = self._parents[number]
            steps.append(self._step(number))
        steps.reverse()
        if len(steps) > _LONGEST_PATH:
            half = _LONGEST_PATH // 2
            steps[half:-half] = ['...']
        return ' > '.join(steps)

    def _step(self, number: int) -> str:
        module, name = self._names[self._classes[number]]
        return (
            f'{p64(self._oids[number]).hex()} {f"{module}.{name}" if name else "(class unknown)"}'
        )
