"""Whether what lies at a cache's path is a cache; what is not is somebody's data and keeps its
bytes.

In: a path, whose lock is held. Out: an open file that is a cache of this format, however damaged,
or empty. A file of any other kind is renamed to ``NAME.bad``, which the log says. Fails:
ClientStorageError for a FileStorage, for what is not a regular file, and for what a symbolic link
leads to unless it is a cache; OSError when the disk is full.
"""

from __future__ import annotations

import logging
import os

from ZEO import files
from ZEO.cache import format
from ZEO.cache.cache_file import CacheFile, cannot_open, is_full, open_file
from ZEO.Exceptions import ClientStorageError

log = logging.getLogger('ZEO.cache')

_DATABASES = (b'FS21', b'FS30')  # a FileStorage, whatever cache= says
_OTHER_CACHES = (b'ZEC', format.MAGIC)  # those of ZEO 4 to 6, and ours of another version


def open_cache_file(path: str | None, linked: bool) -> CacheFile:
    """Open the cache file at path, or make it; None: a temporary one.

    linked: a symbolic link has led to path.
    Raises ClientStorageError, OSError.
    """
    file = open_file(path)
    if path is None:
        return file
    try:
        start = file.read(0, format.VERSION_END)
        if not start or format.is_this_format(start):
            return file
        if start.startswith(_DATABASES):
            raise ClientStorageError(f'{path} is a FileStorage, not a cache file: check cache=')
        if linked and not start.startswith(_OTHER_CACHES):
            raise ClientStorageError(
                f'{path}, to which a symbolic link leads, is not a cache file: check cache= (or '
                'var= and client=), or '
                'remove the link'
            )
    except BaseException:
        file.close()
        raise
    file.close()
    return _instead_of(path)


def _instead_of(path: str) -> CacheFile:
    """Rename the file at path and make an empty one."""
    try:
        aside = files.move_aside(path)
    except OSError as error:
        if is_full(error):
            raise
        raise cannot_open(path, error) from error
    log.warning(
        'Cache file %s is not a cache of this version: it was renamed to %s, and the cache starts '
        'empty',
        path,
        os.path.basename(aside),
    )
    return open_file(path, new=True)
