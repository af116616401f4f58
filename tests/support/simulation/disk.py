"""A disk in memory, with what a bad day does to disks.

Enters: what a process does with files (through :mod:`support.simulation.disk_modules`), and what
happens to its machine: :meth:`Disk.kill`, :meth:`Disk.crash`, and `faults`.
Leaves: what is there afterwards. Fails: OSError as a file system raises it; :class:`PowerCut` from
every call once the power is cut.

A disk belongs to one machine and serves one process at a time: kill or crash ends that process, and
the next one starts on what is left. Writes, truncations and changes of names are not on the disk
before a sync. Names and truncations are kept in order, as a journal does it: a crash keeps a first
part of them. A sync of a file keeps all of them up to the last that concerns the file. A `strict`
disk promises only what POSIX does: a name is safe when its directory was synced, and the names of
each directory are kept or lost by themselves.
"""

from __future__ import annotations

import errno
import os
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.simulation.disk_faults import PowerCut, error
from support.simulation.disk_inodes import SECTOR, Choice, Inode
from support.simulation.disk_names import Names

__all__ = ['Disk', 'PowerCut']

FIRST_DESCRIPTOR = 1_000_000  # no real file has such a number, so that a mistake is an error


@dataclass(eq=False)
class Description:
    """An open file, which several descriptors may share."""

    inode: Inode
    flags: int
    position: int = 0
    count: int = 1
    is_gone: bool = False  # with its process

    def seek(self, offset: int, whence: int) -> int:
        """Move, and return the new position."""
        start = (0, self.position, len(self.inode.data))[whence]
        if start + offset < 0:
            raise error(errno.EINVAL)
        self.position = start + offset
        return self.position


class Disk(Names):
    """Files in memory.

    :param rng: makes what a machine has of its own; the crash takes its own choices.
    :param clock: returns the seconds since the epoch.
    :param strict: whether names are safe only when their directory was synced.
    """

    def __init__(
        self,
        rng: random.Random | None = None,
        clock: Callable[[], float] | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(clock, strict)
        self.random = rng or random.Random(0)
        self.pid = 1000
        self.modules: Any = None  # what stands for Python's modules, once they are asked for
        self.boot = uuid.UUID(int=self.random.getrandbits(128))
        self._open: dict[int, Description] = {}
        for path in ('/tmp', '/data'):
            self.make_directory(path)
        self.sync(self.root)
        self.changes = self.calls = 0

    # What happens to the process and the machine.

    def kill(self) -> None:
        """End the process; all that it has written is there."""
        self._end()

    def crash(self, rng: random.Random) -> None:
        """Stop the machine; of what was not synced some is there."""
        self._end()
        self.boot = uuid.UUID(int=self.random.getrandbits(128))
        cut = rng.choice((self._safe, self._changed, rng.randint(self._safe, self._changed)))
        if self.strict:
            self._lose_names_of_each(rng)
        else:
            self._lose_names_after(cut)
        choose = _choice(rng)
        for inode in self._inodes():
            inode.survive(cut, choose, rng)
        self._renamings.clear()
        self._safe = self._changed

    def _end(self) -> None:
        for description in self._open.values():
            description.inode.lock = None
            description.is_gone = True
        self._open = {}
        self.pid += 1
        self._is_off = False
        self.faults.last_change, self.faults.torn = 0, None

    # Descriptors.

    def open_descriptor(self, path: str, flags: int, mode: int = 0o777) -> int:
        """Open a file, or make it, and return a descriptor."""
        self.call('open')
        if self.faults.most_open is not None and len(self._open) >= self.faults.most_open:
            raise error(errno.EMFILE, path)
        inode = self.special(path) or self._opened(path, flags)
        return self._add(Description(inode, flags))

    def _opened(self, path: str, flags: int) -> Inode:
        directory, name = self.parent(path)
        assert directory.names is not None
        inode = directory.names.get(name)
        if inode is None:
            if not flags & os.O_CREAT:
                raise error(errno.ENOENT, path)
            self._change('create')
            if self.faults.room is not None and self.faults.room < SECTOR:
                raise error(errno.ENOSPC, path)
            inode = self._new()
            self._rename([(directory, name, inode)])
            return inode
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise error(errno.EEXIST, path)
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        if writes and inode.names is not None:
            raise error(errno.EISDIR, path)
        if writes and self.faults.read_only:
            raise error(errno.EROFS, path)
        if flags & os.O_TRUNC and inode.data:
            self.truncate(inode, 0)
        return inode

    def special(self, path: str) -> Inode | None:
        """Return what a system shows of itself in files, anew each time."""
        contents = {
            '/dev/null': b'',
            '/proc/sys/kernel/random/boot_id': b'%s\n' % str(self.boot).encode(),
            f'/proc/{self.pid}/stat': b'%d (python) S' % self.pid + b' %d' % self.pid * 20,
        }
        found = contents.get(path) if path[:5] in ('/dev/', '/proc') else None
        if found is None:
            return None
        inode = Inode(0, 0)
        inode.data += found
        return inode

    def _add(self, description: Description) -> int:
        fd = FIRST_DESCRIPTOR
        while fd in self._open:
            fd += 1
        self._open[fd] = description
        return fd

    def duplicate(self, fd: int) -> int:
        """Return another descriptor of the same open file."""
        description = self.description(fd)
        if self.faults.most_open is not None and len(self._open) >= self.faults.most_open:
            raise error(errno.EMFILE)
        description.count += 1
        return self._add(description)

    def description(self, fd: int) -> Description:
        """Return the open file of a descriptor."""
        try:
            return self._open[fd]
        except KeyError:
            raise error(errno.EBADF) from None

    def has(self, fd: int, description: Description) -> bool:
        """Return whether a descriptor is still this open file's."""
        return self._open.get(fd) is description

    def close(self, fd: int) -> None:
        description = self.description(fd)
        del self._open[fd]
        description.count -= 1
        if not description.count and description.inode.lock is description:
            description.inode.lock = None

    # Contents.

    def read(self, opened: Description, length: int, offset: int) -> bytes:
        self.call('read')
        if opened.flags & os.O_WRONLY:
            raise error(errno.EBADF)
        if opened.inode.names is not None:
            raise error(errno.EISDIR)
        return bytes(opened.inode.data[offset : offset + length])

    def append_or_write(self, opened: Description, data: bytes) -> int:
        """Write at the position, or at the end, and go behind it."""
        if opened.flags & os.O_APPEND:
            opened.position = len(opened.inode.data)
        written = self.write(opened, data, opened.position)
        opened.position += written
        return written

    def write(self, opened: Description, data: bytes, offset: int) -> int:
        """Write at an offset; return how many bytes there was space for."""
        self.call('write')
        if not opened.flags & (os.O_WRONLY | os.O_RDWR):
            raise error(errno.EBADF)
        if not opened.inode.number:
            return len(data)
        faults = self.faults
        if faults.torn is not None and self.changes >= faults.last_change:
            opened.inode.write(offset, data[: faults.torn])
            self._cut()
        data = data if faults.room is None else data[: self._space(opened.inode, offset, len(data))]
        self._begin_change()
        if data:
            opened.inode.write(offset, data)
            opened.inode.mtime = self.time()
        self._done()
        return len(data)

    def _space(self, inode: Inode, offset: int, length: int) -> int:
        """Take space for a write; return how many of its bytes have some."""
        assert self.faults.room is not None
        for sector in range(offset // SECTOR, -(-(offset + length) // SECTOR)):
            if sector not in inode.sectors:
                if self.faults.room < SECTOR:
                    length = max(sector * SECTOR - offset, 0)
                    if not length:
                        raise error(errno.ENOSPC)
                    return length
                self.faults.room -= SECTOR
        return length

    def resize(self, opened: Description, size: int) -> None:
        """Cut an open file, or let it grow."""
        if size < 0 or not opened.flags & (os.O_WRONLY | os.O_RDWR):
            raise error(errno.EINVAL)
        self.truncate(opened.inode, size)

    def truncate(self, inode: Inode, size: int) -> None:
        self._change('truncate')
        self._changed += 1
        freed = len(inode.sectors)
        inode.resize(size, self._changed)
        if self.faults.room is not None:
            self.faults.room += (freed - len(inode.sectors)) * SECTOR
        inode.mtime = self.time()
        self._done()

    def sync(self, inode: Inode) -> None:
        """Have what a file holds, or what a directory names, on the disk for certain."""
        synced = {id(change) for change in inode.log}
        if self.faults.sync_time is not None and self.faults.sleep is not None:
            self.faults.sleep(self.faults.sync_time())
        self._change('fsync')
        inode.log = [change for change in inode.log if id(change) not in synced]
        self._names_are_safe(inode)
        self._done()

    def sync_all(self) -> None:
        """The same for all files and directories."""
        for inode in self._inodes():
            self.sync(inode)


def _choice(rng: random.Random) -> Choice:
    """Return how a crash chooses: all or nothing, most, few, or each by itself."""
    share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0, None))

    def choose(low: int, high: int) -> int:
        if low == high:
            return low
        if share is None:
            return rng.randint(low, high)
        return high if rng.random() < share else low

    return choose
