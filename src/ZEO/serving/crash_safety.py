"""What a FileStorage leaves to luck when its machine goes down or its process is killed.

Enters: the path of a FileStorage before it is opened; an open FileStorage. Leaves: a data file that
can be opened, with every transaction that was acknowledged; a storage whose packs and indexes are
on the disk before anything depends on them. Fails: OSError where the disk does.

A FileStorage syncs its file when a transaction ends. It does not sync what a pack has written, nor
the index, before they take the place of the old ones; between two renames of a pack there is no
data file at all.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from zc.lockfile import LockError, LockFile
from ZODB.blob import LAYOUT_MARKER
from ZODB.FileStorage import FileStorage

from ZEO.files import remove_if_there
from ZEO.net.system import System
from ZEO.serving import torn_commit

log = logging.getLogger('ZEO.StorageServer')

#: How ZODB arranges the files of blobs in a new directory.
_LAYOUT = 'bushy'

#: Errors of a sync that no file system gives where it only does not sync directories.
_OF_THE_DISK = (errno.EIO, errno.ENOSPC)

#: Errors of an open that say nothing of the file: there are no more descriptors.
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

#: What follows the name of a data file in that of an index which is saved while it is served.
SAVING = '.index.saving_tmp'

#: The same of an index that is saved at another time; FileStorage's own name.
_SAVING_LAST = '.index.index_tmp'

#: The same of files that are nothing until they are whole, and take the place of others then.
_UNFINISHED = ('.pack', SAVING, _SAVING_LAST)

#: Seconds between two syncs of what a pack writes. Commits wait for the last one.
_SYNC_EVERY = 1.0


def mend(path: str, blobs: str | None = None) -> None:
    """Before the FileStorage at `path` is opened: finish what a kill or a power failure has cut
    short.

    :param blobs: the directory of its blobs.
    :raises OSError: when a file cannot be read, written or renamed.
    """
    try:
        lock = LockFile(path + '.lock')
    except (LockError, OSError):  # opening fails as well, and says why
        return
    try:
        _finish_pack(path)
        if os.path.isfile(path):
            torn_commit.cut(path)
            _remove_unfinished(path)
        if blobs is not None:
            _finish_blob_directory(blobs)
    finally:
        lock.close()


def _finish_blob_directory(directory: str) -> None:
    """Write the name of the layout into a directory of blobs, if a process was stopped while it
    made the directory. Opening would fail, or take the directory for one of an old layout.
    """
    marker = os.path.join(directory, LAYOUT_MARKER)
    if not os.path.isdir(directory) or _is_written(marker):
        return
    if set(os.listdir(directory)) <= {LAYOUT_MARKER, 'tmp'}:
        with open(marker, 'w') as file:
            file.write(_LAYOUT)


def _is_written(path: str) -> bool:
    """Return whether a file has more than the zeros that a power failure leaves."""
    try:
        with open(path, 'rb') as file:
            return bool(file.read(100).strip(b'\0'))
    except FileNotFoundError:
        return False


def _finish_pack(path: str) -> None:
    """Bring a file back if a pack has renamed it and was stopped before the packed file took its
    place. Opening would make an empty one.

    Only a pack that was stopped there leaves both of its other files, but no data file.
    """
    if os.path.exists(path) or not all(os.path.exists(path + end) for end in ('.old', '.pack')):
        return
    os.rename(path + '.old', path)
    log.warning(
        'a pack of %s was stopped while it replaced the file: the file is as before the pack, '
        'with everything that was committed; pack again',
        path,
    )


def _remove_unfinished(path: str) -> None:
    """Remove what a kill has left of a pack, or of an index that was saved: a large database may
    have no room for another one, and a pack may not come for months. The lock of the file is held.
    """
    for ending in _UNFINISHED:
        if os.path.isfile(path + ending) and remove_if_there(path + ending):
            log.info('removed %s%s, which a process that was killed has left', path, ending)


def make_safe(storage: FileStorage, system: System) -> None:
    """Have an open FileStorage sync what a pack has written, its index, and a file that is new.

    :param system: runs a thread while a pack runs.
    """
    storage._file.flush()  # into a file that was empty it has written its first bytes just now
    os.fsync(storage._file.fileno())
    sync_directory(storage._file_name)
    if storage.blob_dir:
        _sync_blob_directory(storage.blob_dir)
    storage.packer = partial(_pack, storage.packer, system)
    storage.pack = partial(_pack_or_bring_back, storage, storage.pack)
    storage._save_index = partial(_save_index, storage)


def _sync_blob_directory(directory: str) -> None:
    """Have what ZODB puts into a new directory of blobs on the disk: no server starts without the
    name of the layout.
    """
    marker = os.path.join(directory, LAYOUT_MARKER)
    if os.access(marker, os.W_OK):
        sync(marker)
    sync_directory(marker)
    sync_directory(directory)


def _pack_or_bring_back(
    storage: FileStorage, pack: Callable[..., Any], *args: Any, **options: Any
) -> Any:
    """Pack; where the packed file could not take the place of the old one, bring that back at once:
    the next pack would begin by removing it.
    """
    path = storage._file_name
    try:
        return pack(*args, **options)
    except BaseException:
        with storage._lock:
            if not os.path.exists(path) and os.path.exists(path + '.old'):
                os.rename(path + '.old', path)
                log.error('%s: the packed file could not replace it, so it is as before', path)
            if storage._file.closed and os.path.exists(path):
                storage._file = open(path, 'r+b')
        raise


def _pack(
    packer: Callable[..., Any], system: System, storage: FileStorage, *args: Any, **options: Any
) -> Any:
    """Have `packer` write a packed file, and sync it; commits wait from the end of the first to
    the end of the other.
    """
    path = storage._file_name + '.pack'
    with _synced_meanwhile(path, system):
        packed = packer(storage, *args, **options)
    if packed is not None:
        try:
            sync(path)
            if hasattr(storage, 'hold_syncs'):
                storage.hold_syncs()
        except BaseException:
            storage._commit_lock.release()  # which the packer has taken
            raise
    return packed


@contextmanager
def _synced_meanwhile(path: str, system: System) -> Iterator[None]:
    """Sync a file again and again, so that little is left for the last time."""
    ended = system.event()

    def sync_often() -> None:
        while not ended.wait(_SYNC_EVERY):
            try:
                sync(path)
            except OSError:  # it is not made yet, or the last sync reports the same
                pass

    try:
        system.spawn('ZEO sync of a pack', sync_often)
    except RuntimeError:  # there are no more threads: only the last sync takes longer
        pass
    try:
        yield
    finally:
        ended.set()


def _save_index(storage: FileStorage) -> None:
    """Do what the method of this name does; the new index is on the disk before it replaces the
    old one.
    """
    if storage._is_read_only:  # a replica that refuses writes has an index all the same
        return
    temporary = _new_index(storage)
    storage._index.save(storage._pos, temporary)
    sync(temporary)
    may_replace = getattr(storage, 'index_may_replace', None)
    if may_replace is None or may_replace():
        replace_index(storage)


def replace_index(storage: FileStorage) -> None:
    """Put an index that was saved into the place of the former one."""
    os.replace(_new_index(storage), storage.__name__ + '.index')
    storage._saved += 1


def _new_index(storage: FileStorage) -> str:
    return storage.__name__ + _SAVING_LAST


def sync_directory(path: str) -> None:
    """Have the name of a new file on the disk, where the system can do that.

    :raises OSError: when the disk fails.
    """
    try:
        # a FIFO may have been put there, where clients share the directory of blobs
        fd = os.open(os.path.dirname(path), os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0))
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            sync_everything()
        return  # Windows
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise
        # else it is one of some file systems of networks
    finally:
        os.close(fd)


def sync_everything() -> None:
    """Have all that was written on its disk, for want of a descriptor to sync one file by."""
    if hasattr(os, 'sync'):
        os.sync()


def sync(path: str) -> None:
    """Return when a file is on the disk.

    :raises OSError: when it cannot be opened or written.
    """
    fd = os.open(path, os.O_RDWR | getattr(os, 'O_BINARY', 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
