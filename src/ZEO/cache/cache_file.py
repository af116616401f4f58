"""The cache's file as an open descriptor: its lock, its states, reads and writes in units.

Enters: a path; None for a temporary file that leaves nothing behind. Leaves: bytes. Fails: OSError
from reads and writes, which the caller handles; ClientStorageError when another process has the
file or it cannot be opened at all.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import threading
import uuid
from typing import Any

from ZEO import files
from ZEO.cache import format
from ZEO.Exceptions import ClientStorageError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

_FULL = errno.ENOSPC, errno.EDQUOT
_BOOT_ID = '/proc/sys/kernel/random/boot_id'
UNKNOWN_BOOT = b'\0' * 16


if hasattr(os, 'pread'):
    pread, pwrite = os.pread, os.pwrite
else:  # pragma: no cover - Windows
    _position = threading.Lock()  # a file has one position

    def pread(fd: int, length: int, offset: int, /) -> bytes:
        """Return up to `length` bytes at an offset."""
        with _position:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, length)

    def pwrite(fd: int, data: Any, offset: int, /) -> int:
        """Write at an offset; return how many bytes were written."""
        with _position:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, data)


def is_full(error: OSError) -> bool:
    """Return whether there is no space left on the disk."""
    return error.errno in _FULL


def boot_id() -> bytes:
    """Return 16 bytes that differ between boots of this machine, or UNKNOWN_BOOT."""
    try:
        with open(_BOOT_ID) as source:
            return uuid.UUID(source.read().strip()).bytes
    except (OSError, ValueError):
        return UNKNOWN_BOOT


def followed(path: str) -> str:
    """Return where `path` leads to.

    :raises ClientStorageError: for a link that another user has made.
    """
    try:
        return files.followed(path)
    except OSError as error:
        raise cannot_open(path, error) from error


class FileLock:
    """The lock file beside the cache file at `path`, which a forked child can close without
    unlocking it; it holds the number of the process.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> None:
        """Lock the cache file. Whoever is to close this lock has it before: an exception may strike
        at any moment, and a lock that is on its way to its owner then would stay.

        :raises ClientStorageError: when a process has it, or its directory cannot be used.
        :raises OSError: when the disk is full.
        """
        try:
            self._take(self._path + '.lock')
        except LockHeld:
            raise ClientStorageError(
                f'The cache file {self._path} is in use by this or another process. Give each '
                'process a client name of its own (ZEO_CLIENT in the environment, or client=), or '
                'none, for a temporary one.'
            ) from None
        except OSError as error:
            if is_full(error):
                raise
            raise cannot_open(self._path, error) from error

    def _take(self, path: str) -> None:
        try:
            self._fd = fd = files.open_regular(path, os.O_RDWR | os.O_CREAT)
            _lock(fd)
            if not files.holds_pid(fd):
                raise OSError(errno.EEXIST, f'{path} is not a lock file, move it away')
            os.ftruncate(fd, 0)
            pwrite(fd, b' %d\n' % os.getpid(), 0)
        except BaseException:
            self.abandon()
            raise

    def close(self) -> None:
        """Release the lock; harmless a second time."""
        if self._fd >= 0:
            _unlock(self._fd)
            self.abandon()

    def abandon(self) -> None:
        """Close the child's copy of the descriptor; the parent's lock stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class LockHeld(Exception):
    """A process has the lock already."""


if fcntl is not None:

    def _lock(fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld from None

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)

else:  # pragma: no cover - Windows

    def _lock(fd: int) -> None:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            raise LockHeld from None

    def _unlock(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)


def cannot_open(path: str, error: OSError) -> ClientStorageError:
    """Return the error for a cache file that cannot be opened, with the reason."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EROFS):
        reason += '. Check that its directory (var=) exists and may be written to'
    return ClientStorageError(f'Cannot open the cache file {path}: {reason}.')


def open_file(path: str | None, new: bool = False) -> CacheFile:
    """Open the file at `path`, or make it.

    :param path: None for a temporary file.
    :param new: whether there must not be a file yet.
    :raises ClientStorageError: when it cannot be opened.
    :raises OSError: when the disk is full.
    """
    try:
        if path is None:
            with tempfile.TemporaryFile(prefix='zeo-', suffix='.zec') as temporary:
                return CacheFile(os.dup(temporary.fileno()), None)
        return CacheFile(
            files.open_regular(path, os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0)), path
        )
    except OSError as error:
        if is_full(error):
            raise
        raise cannot_open(path or 'in the temporary directory', error) from error


class CacheFile:
    """An open cache file. Writes need the caller's lock, reads do not.

    All reads and writes raise OSError.

    :param fd: a descriptor to take over; -1: there is no file, and reads and writes fail.
    """

    start = format.RING_START // format.UNIT  # units; where the ring begins

    def __init__(self, fd: int = -1, path: str | None = None) -> None:
        self.fd = fd
        self.path = path
        # no other process will open it, so that its header, states and gaps do not matter
        self.scratch = path is None
        self.state = format.State()
        self.end = self.start  # units; where the ring ends

    def create(self, size: int, identity: str) -> None:
        """Make the file an empty cache of `size` bytes."""
        os.ftruncate(self.fd, 0)
        self.set_size(size)
        self.state = format.State(salt=secrets.randbits(31) + 1, boot=boot_id())
        self.state.hand, self.state.gap_end = self.start, self.end
        self._write_for_later(0, format.pack_header(size, identity))
        if not self.scratch:
            self.sync()  # so that even if the machine crashes now, the file is known to be a cache
        os.ftruncate(self.fd, size)
        self.write_state(both=True)
        self.write_gap(self.start, self.end - self.start)

    def set_size(self, size: int) -> None:
        """Note the size in bytes that the header says."""
        self.end = size // format.UNIT

    def load_state(self) -> bool:
        """Load the newest valid state; return whether there was one."""
        found = [
            format.parse_state(self.read(place, format.STATE_LENGTH))
            for place in format.STATE_PLACES
        ]
        valid = [state for state in found if state is not None]
        if valid:
            self.state = max(valid, key=lambda state: state.sequence)
        return bool(valid)

    def write_state(self, both: bool = False) -> None:
        """Write the state beside the former one.

        :param both: whether to overwrite the former one too, to make it void.
        """
        for _ in range(2 if both else 1):
            self.state.sequence += 1
            place = format.STATE_PLACES[self.state.sequence % 2]
            self._write_for_later(place, format.pack_state(self.state))

    def seed(self, place: int) -> int:
        """Return the start value for the CRCs of the record at `place`, in units."""
        return self.state.salt + place

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes at the offset in bytes."""
        return pread(self.fd, length, offset)

    def read_units(self, place: int, length: int) -> bytes:
        """Return up to `length` bytes at `place`."""
        return pread(self.fd, length, place * format.UNIT)

    def read_header(self, place: int) -> format.RecordHeader | None:
        """Return the header of the record at `place`, or None if there is no record."""
        buffer = self.read_units(place, format.RECORD_HEADER)
        return format.parse_record_header(buffer, self.seed(place))

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at the offset in bytes, front to back."""
        written = pwrite(self.fd, data, offset)
        while written < len(data):
            written += pwrite(self.fd, memoryview(data)[written:], offset + written)

    def write_units(self, place: int, data: bytes) -> None:
        """Write all of `data` at `place`."""
        self.write(place * format.UNIT, data)

    def write_gap(self, place: int, length: int) -> None:
        """Mark `length` units at `place` as a gap."""
        if length:
            self._write_for_later(place * format.UNIT, format.pack_gap(length, self.seed(place)))

    def end_record(self, place: int, header: format.RecordHeader, end: bytes) -> None:
        """Write into the record at `place` that its revision ended at the tid `end`."""
        offset = place * format.UNIT + format.END_PLACE
        self._write_for_later(offset, format.pack_end(header, end, self.seed(place)))

    def _write_for_later(self, offset: int, data: bytes) -> None:
        """Write data that is read only when the file is opened again."""
        try:
            self.write(offset, data)
        except OSError:
            if not self.scratch:
                raise

    def leave(self) -> None:
        """Continue as a temporary file, without a name."""
        if self.path is not None:
            os.unlink(self.path)
        self.scratch = True

    def sync(self) -> None:
        """Return when everything that was written is on the disk."""
        os.fsync(self.fd)

    def void(self) -> None:
        """Make the file unusable: empty it, or at least remove it."""
        try:
            os.ftruncate(self.fd, 0)  # works on a full disk, and frees the space
        except OSError:
            if self.path is not None:
                os.unlink(self.path)

    def close(self) -> None:
        """Close the descriptor; nothing is written."""
        fd, self.fd = self.fd, -1  # a late reader gets EBADF, not another file
        if fd >= 0:
            os.close(fd)
