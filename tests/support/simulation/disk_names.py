"""The names on a simulated disk: directories, and which of their changes a crash keeps.

Enters: paths. Leaves: what is there. Fails: OSError as a file system raises it.
"""

from __future__ import annotations

import errno
import posixpath
import random
from collections.abc import Callable
from dataclasses import dataclass

from support.simulation.disk_faults import Door, error
from support.simulation.disk_inodes import Inode


@dataclass
class Renaming:
    """A change of names: for each of them, what it was the name of before."""

    number: int
    before: list[tuple[Inode, str, Inode | None]]


class Names(Door):
    """Directories.

    :param clock: returns the seconds since the epoch.
    :param strict: whether names are safe only when their directory was synced.
    """

    def __init__(self, clock: Callable[[], float] | None, strict: bool) -> None:
        super().__init__()
        self.strict = strict
        self._clock = clock or self._count_time
        self._number = 0  # of inodes
        self._changed = 0  # changes of metadata so far
        self._safe = 0  # those of them that are on the disk for certain
        self._renamings: list[Renaming] = []  # that are not
        self.root = self._new(is_directory=True)

    def find(self, path: str) -> Inode:
        """Return what is at a path."""
        inode = self.root
        for name in _parts(path):
            if inode.names is None:
                raise error(errno.ENOTDIR, path)
            if name not in inode.names:
                raise error(errno.ENOENT, path)
            inode = inode.names[name]
        return inode

    def parent(self, path: str) -> tuple[Inode, str]:
        """Return the directory that a path leads to, and the name in it."""
        *above, name = _parts(path)
        directory = self.find('/' + '/'.join(above))
        if directory.names is None:
            raise error(errno.ENOTDIR, path)
        return directory, name

    def make_directory(self, path: str) -> None:
        self._change('mkdir')
        directory, name = self.parent(path)
        if name in (directory.names or ()):
            raise error(errno.EEXIST, path)
        self._rename([(directory, name, self._new(is_directory=True))])

    def remove(self, path: str, is_directory: bool = False) -> None:
        self._change('remove')
        directory, name = self.parent(path)
        inode = self.find(path)
        if (inode.names is not None) != is_directory:
            raise error(errno.ENOTDIR if is_directory else errno.EISDIR, path)
        if inode.names:
            raise error(errno.ENOTEMPTY, path)
        self._rename([(directory, name, None)])

    def rename(self, old: str, new: str) -> None:
        self._change('rename')
        source, before = self.parent(old)
        target, after = self.parent(new)
        inode, there = self.find(old), (target.names or {}).get(after)
        if there is inode:
            return
        if there is not None and (there.names is None) != (inode.names is None):
            raise error(errno.EISDIR if there.names is not None else errno.ENOTDIR, new)
        if there is not None and there.names:
            raise error(errno.ENOTEMPTY, new)
        self._rename([(source, before, None), (target, after, inode)])

    def link(self, old: str, new: str) -> None:
        self._change('link')
        inode = self.find(old)
        target, after = self.parent(new)
        if after in (target.names or ()):
            raise error(errno.EEXIST, new)
        if inode.names is not None:
            raise error(errno.EPERM, old)
        self._rename([(target, after, inode)])

    def _rename(self, changes: list[tuple[Inode, str, Inode | None]]) -> None:
        """Set names in directories, as one change."""
        self._changed += 1
        before = []
        for directory, name, inode in changes:
            assert directory.names is not None
            before.append((directory, name, directory.names.get(name)))
            for concerned in (directory, inode, before[-1][2]):
                if concerned is not None:
                    concerned.last = self._changed
            if inode is None:
                del directory.names[name]
            else:
                directory.names[name] = inode
            directory.mtime = self.time()
        self._renamings.append(Renaming(self._changed, before))
        self._done()

    def _new(self, is_directory: bool = False) -> Inode:
        self._number += 1
        return Inode(self._number, self.time(), is_directory)

    def time(self) -> int:
        """Return the nanoseconds since the epoch."""
        return int(self._clock() * 1e9)

    def _count_time(self) -> float:
        return 1.7e9 + self.calls / 1024

    # Crashes.

    def _names_are_safe(self, inode: Inode) -> None:
        """After a sync of `inode`."""
        if not self.strict:
            self._safe = max(self._safe, inode.last)
            self._renamings = [one for one in self._renamings if one.number > self._safe]
        elif inode.names is not None:
            self._renamings = [one for one in self._renamings if one.before[0][0] is not inode]

    def _inodes(self) -> list[Inode]:
        found, seen = [self.root], {id(self.root)}
        for inode in found:
            for name in inode.names or ():
                below = inode.names[name]  # type: ignore[index]
                if id(below) not in seen:
                    seen.add(id(below))
                    found.append(below)
        return found

    def _lose_names_after(self, cut: int) -> None:
        for renaming in reversed(self._renamings):
            if renaming.number > cut:
                _undo(renaming)

    def _lose_names_of_each(self, rng: random.Random) -> None:
        numbers: dict[int, list[int]] = {}
        for renaming in self._renamings:
            numbers.setdefault(renaming.before[0][0].number, [0]).append(renaming.number)
        cuts = {directory: rng.choice(some) for directory, some in numbers.items()}
        for renaming in reversed(self._renamings):
            if renaming.number > cuts[renaming.before[0][0].number]:
                _undo(renaming)


def _undo(renaming: Renaming) -> None:
    for directory, name, inode in reversed(renaming.before):
        assert directory.names is not None
        if inode is None:
            directory.names.pop(name, None)
        else:
            directory.names[name] = inode


def _parts(path: str) -> list[str]:
    if not path:
        raise error(errno.ENOENT, path)
    return [part for part in posixpath.normpath(posixpath.join('/', path)).split('/') if part]
