"""Whether the file at a cache's path is a cache; any other file is a user's data and is kept.

Enters: a path, whose lock is held. Leaves: an open file that is a cache of this format, even if
damaged, or empty. A file of any other kind is renamed to ``NAME.bad``, which is logged. Fails:
ClientStorageError for a FileStorage, for anything but a regular file, and for a file that a
symbolic link leads to unless it is a cache; OSError when the disk is full.
"""

from __future__ import annotations

import logging
import os

from ZEO import files
from ZEO.cache import format
from ZEO.cache.cache_file import CacheFile, cannot_open, is_full, open_file
from ZEO.Exceptions import ClientStorageError

log = logging.getLogger('ZEO.cache')

_DATABASES = (b'FS21', b'FS30')  # the first bytes of a FileStorage
_OTHER_CACHES = (b'ZEC', format.MAGIC)  # those of ZEO 4 to 6, and of other versions of this format


def open_cache_file(path: str | None, linked: bool) -> CacheFile:
    """Open the cache file at `path`, or make it.

    :param path: None for a temporary file.
    :param linked: whether a symbolic link has led to `path`.
    :raises ClientStorageError: when the file there is plainly not a cache, or cannot be opened.
    :raises OSError: when the disk is full.
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
                'var= and client=), or remove the link'
            )
    except BaseException:
        file.close()
        raise
    file.close()
    return _replace(path)


def _replace(path: str) -> CacheFile:
    """Rename the file at `path` and make an empty one."""
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
