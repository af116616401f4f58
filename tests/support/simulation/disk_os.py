"""What Python offers for files, on a simulated disk: ``os``, ``os.path``, ``tempfile`` and others.

Enters: the calls that ZODB and ZEO make. Leaves: what the real modules return. Fails: OSError as
the disk says; AttributeError for what is not simulated.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

from support.simulation.disk import Disk
from support.simulation.disk_faults import error
from support.simulation.disk_files import RawFile, buffered, open_file
from support.simulation.disk_inodes import Inode

USER = 1000  # owns everything


class Contents:
    """The part of ``os`` that takes descriptors."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        return self.disk.open_descriptor(_text(path), flags, mode)

    def close(self, fd: int) -> None:
        self.disk.close(fd)

    def dup(self, fd: int) -> int:
        return self.disk.duplicate(fd)

    def fdopen(self, fd: int, mode: str = 'r', buffering: int = -1, **options: Any) -> Any:
        return open_file(self.disk, fd, mode, buffering, **options)

    def read(self, fd: int, length: int) -> bytes:
        opened = self.disk.description(fd)
        found = self.disk.read(opened, length, opened.position)
        opened.position += len(found)
        return found

    def write(self, fd: int, data: Any) -> int:
        return self.disk.append_or_write(self.disk.description(fd), bytes(data))

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return self.disk.read(self.disk.description(fd), length, offset)

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        opened = self.disk.description(fd)
        if opened.flags & os.O_APPEND:  # Linux appends then, wherever it is told to write
            offset = len(opened.inode.data)
        return self.disk.write(opened, bytes(data), offset)

    def lseek(self, fd: int, offset: int, whence: int) -> int:
        return self.disk.description(fd).seek(offset, whence)

    def ftruncate(self, fd: int, size: int) -> None:
        self.disk.resize(self.disk.description(fd), size)

    def fsync(self, fd: int) -> None:
        self.disk.sync(self.disk.description(fd).inode)

    fdatasync = fsync

    def sync(self) -> None:
        self.disk.sync_all()

    def set_blocking(self, fd: int, blocking: bool) -> None:
        self.disk.description(fd)

    def fstat(self, fd: int) -> os.stat_result:
        self.disk.call('stat')
        return _status(self.disk.description(fd).inode)


class Names(Contents):
    """The part of ``os`` that takes paths."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.path = Paths(self)

    def stat(self, path: Any, *, follow_symlinks: bool = True) -> os.stat_result:
        if isinstance(path, int):
            return self.fstat(path)
        self.disk.call('stat')
        path = _text(path)
        return _status(self.disk.special(path) or self.disk.find(path))

    lstat = stat

    def listdir(self, path: Any = '/') -> list[str]:
        self.disk.call('listdir')
        names = self.disk.find(_text(path)).names
        if names is None:
            raise error(errno.ENOTDIR, path)
        return list(names)

    def walk(self, top: Any, topdown: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:
        try:
            names = self.listdir(top)
        except OSError:
            return
        directories = [name for name in names if self.path.isdir(posixpath.join(top, name))]
        files = [name for name in names if name not in directories]
        if topdown:
            yield top, directories, files
        for name in directories:
            yield from self.walk(posixpath.join(top, name), topdown)
        if not topdown:
            yield top, directories, files

    def mkdir(self, path: Any, mode: int = 0o777) -> None:
        self.disk.make_directory(_text(path))

    def makedirs(self, path: Any, mode: int = 0o777, exist_ok: bool = False) -> None:
        path = _text(path).rstrip('/')
        if not self.path.exists(posixpath.dirname(path)):
            self.makedirs(posixpath.dirname(path), mode, exist_ok=True)
        if not (exist_ok and self.path.isdir(path)):
            self.mkdir(path)

    def rmdir(self, path: Any) -> None:
        self.disk.remove(_text(path), is_directory=True)

    def remove(self, path: Any) -> None:
        self.disk.remove(_text(path))

    unlink = remove

    def rename(self, old: Any, new: Any) -> None:
        self.disk.rename(_text(old), _text(new))

    replace = rename

    def link(self, old: Any, new: Any) -> None:
        self.disk.link(_text(old), _text(new))

    def readlink(self, path: Any) -> str:
        raise error(errno.EINVAL, path)  # there are no symbolic links

    def chmod(self, path: Any, mode: int) -> None:
        self.stat(path)

    def utime(self, path: Any, times: Any = None, *, ns: Any = None) -> None:
        self.disk.call('utime')
        moment = ns[1] if ns else int(times[1] * 1e9) if times else self.disk.time()
        self.disk.find(_text(path)).mtime = moment

    def access(self, path: Any, mode: int) -> bool:
        return self.path.exists(path) and not (mode & os.W_OK and self.disk.faults.read_only)


class System(Names):
    """The whole of it; what has nothing to do with files is the real one's."""

    def getpid(self) -> int:
        return self.disk.pid

    def getcwd(self) -> str:
        return '/data'

    def geteuid(self) -> int:
        return USER

    getuid = geteuid

    def urandom(self, length: int) -> bytes:
        return self.disk.random.randbytes(length)

    def kill(self, pid: int, number: int) -> None:
        if pid != self.disk.pid or number:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


class Paths:
    """``os.path``, for paths that are not relative."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def _status(self, path: Any) -> os.stat_result | None:
        try:
            return self._names.stat(path)
        except OSError:
            return None

    def exists(self, path: Any) -> bool:
        return self._status(path) is not None

    lexists = exists

    def isfile(self, path: Any) -> bool:
        status = self._status(path)
        return status is not None and stat.S_ISREG(status.st_mode)

    def isdir(self, path: Any) -> bool:
        status = self._status(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def islink(self, path: Any) -> bool:
        return False

    def getsize(self, path: Any) -> int:
        return self._names.stat(path).st_size

    def getmtime(self, path: Any) -> float:
        return self._names.stat(path).st_mtime

    def samefile(self, one: Any, other: Any) -> bool:
        return self._names.stat(one).st_ino == self._names.stat(other).st_ino

    def abspath(self, path: Any) -> str:
        return posixpath.normpath(posixpath.join('/data', _text(path)))

    realpath = abspath


class Temporary:
    """The part of ``tempfile`` that is used."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._made = 0

    def gettempdir(self) -> str:
        return '/tmp'

    def _name(self, suffix: str | None, prefix: str | None, directory: Any) -> str:
        self._made += 1
        name = f'{prefix or "tmp"}{self._disk.pid}_{self._made}{suffix or ""}'
        return posixpath.join(_text(directory or '/tmp'), name)

    def mkstemp(
        self, suffix: str | None = None, prefix: str | None = None, dir: Any = None
    ) -> tuple[int, str]:
        path = self._name(suffix, prefix, dir)
        return self._disk.open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL), path

    def mkdtemp(self, suffix: str | None = None, prefix: str | None = None, dir: Any = None) -> str:
        path = self._name(suffix, prefix, dir)
        self._disk.make_directory(path)
        return path

    def TemporaryFile(
        self,
        mode: str = 'w+b',
        buffering: int = -1,
        suffix: str | None = None,
        prefix: str | None = None,
    ) -> Any:
        fd, path = self.mkstemp(suffix, prefix)
        self._disk.remove(path)
        return buffered(RawFile(self._disk, fd, fd, mode), mode, buffering)


class Locks:
    """The part of ``fcntl`` that is used."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def flock(self, fd: int, operation: int) -> None:
        import fcntl

        self._disk.call('flock')
        opened = self._disk.description(fd)
        if operation & fcntl.LOCK_UN:
            if opened.inode.lock is opened:
                opened.inode.lock = None
        elif opened.inode.lock in (None, opened):
            opened.inode.lock = opened
        else:
            raise error(errno.EWOULDBLOCK)


def _attempt(ignores_errors: bool, remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except OSError:
        if not ignores_errors:
            raise


def modules_on(disk: Disk) -> SimpleNamespace:
    """Return what stands for Python's modules while a process of this disk runs."""
    system = System(disk)

    def rmtree(path: Any, ignore_errors: bool = False) -> None:
        attempt = partial(_attempt, ignore_errors)
        for folder, directories, files in system.walk(path, topdown=False):
            for name in files:
                attempt(system.remove, posixpath.join(folder, name))
            for name in directories:
                attempt(system.rmdir, posixpath.join(folder, name))
        attempt(system.rmdir, path)

    def opened(path: Any, *args: Any, **options: Any) -> Any:
        return open_file(disk, path if isinstance(path, int) else _text(path), *args, **options)

    def copyfile(source: Any, target: Any) -> None:
        with opened(source, 'rb') as file, opened(target, 'wb') as copy:
            copy.write(file.read())

    def copystat(source: Any, target: Any) -> None:
        found = system.stat(source)
        system.utime(target, (found.st_atime, found.st_mtime))

    return SimpleNamespace(
        os=system,
        path=system.path,
        tempfile=Temporary(disk),
        fcntl=Locks(disk),
        shutil=SimpleNamespace(rmtree=rmtree, copyfile=copyfile, copystat=copystat),
        open=opened,
    )


def _text(path: Any) -> str:
    return os.fsdecode(path)


def _status(inode: Inode) -> os.stat_result:
    mode = stat.S_IFREG | 0o600 if inode.names is None else stat.S_IFDIR | 0o700
    seconds = inode.mtime / 1e9
    fields = (mode, inode.number, 1, 1, USER, USER, len(inode.data), seconds, seconds, seconds)
    nanoseconds = {f'st_{kind}time_ns': inode.mtime for kind in 'amc'}
    return os.stat_result(
        fields,
        {**nanoseconds, **{f'st_{kind}time': seconds for kind in 'amc'}},
    )
