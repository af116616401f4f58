"""Blob directories: a client's cache, and the server's own, in which a client changes nothing.

Enters: a path. Leaves: ZODB's FilesystemHelper, which knows where files are. Fails:
ConfigurationError for a directory that does not exist, that is not the one that was meant, or that
can't be used.
"""

from __future__ import annotations

import logging
import os

from ZODB.blob import LAYOUT_MARKER, LAYOUTS, FilesystemHelper
from ZODB.utils import u64

from ZEO.Exceptions import ConfigurationError

log = logging.getLogger('ZEO.ClientStorage')

#: The layout's name in the directory's marker file, which caches of earlier releases have as well.
_LAYOUT = 'zeocache'

_BUCKETS = 997

#: What to do where the blob directory of the server was expected.
_REMEDY = (
    'mount the blob directory of the server there, or correct blob_dir; without shared_blob_dir '
    'blobs come over the connection'
)


class _CacheLayout:
    """Where a cached blob's file is: in one of many directories, all of one depth."""

    def oid_to_path(self, oid: bytes) -> str:
        return str(u64(oid) % _BUCKETS)

    def getBlobFilePath(self, oid: bytes, tid: bytes) -> str:
        return os.path.join(self.oid_to_path(oid), f'{oid.hex()}.{tid.hex()}.blob')


LAYOUTS[_LAYOUT] = _CacheLayout()


def cache(directory: str) -> FilesystemHelper:
    """Return the helper of a blob cache, whose directory is made if it is missing, for this user
    only.

    :raises ConfigurationError: when files can't be made there, or it is a server's blob directory.
    """
    directory = os.path.abspath(directory)
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise ConfigurationError(
            f'blob_dir is {directory}, which is not a directory: name a directory'
        )
    layout = _layout(directory)
    if layout not in ('', _LAYOUT):
        raise ConfigurationError(
            f'blob_dir is {directory}, the blob directory of a storage (its layout is {layout!r}), '
            'not of a client: name another directory, or give shared_blob_dir=True if it is the '
            "server's"
        )
    helper = FilesystemHelper(directory, _LAYOUT)
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        if not layout:
            _finish(directory)
        helper.create()
    except OSError as error:
        raise ConfigurationError(
            f'blob_dir is {directory}, which cannot be created or written to '
            f'({error.strerror or error}): give this process write access, or name another '
            'directory'
        ) from None
    for path in (directory, helper.temp_dir):
        if not os.access(path, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f'blob_dir is {directory}, but this process may not write to {path}: give it write '
                'access, or name another directory'
            )
    return helper


def _finish(directory: str) -> None:
    """Write the name of the layout where a power failure has left nothing of it but a file, which
    ZODB takes for another layout. Nothing is lost: all that is there can be fetched again.
    """
    marker = os.path.join(directory, LAYOUT_MARKER)
    if os.path.exists(marker) and not any(map(_is_of_server, os.listdir(directory))):
        with open(marker, 'w', encoding='utf-8') as file:
            file.write(_LAYOUT)


def _is_of_server(name: str) -> bool:
    """Whether the first of the directories of a blob is called so in the directory of a server."""
    return name.startswith('0x')


def shared(directory: str) -> FilesystemHelper:
    """Return the helper of a server's blob directory.

    :raises ConfigurationError: when there is none.
    """
    directory = os.path.abspath(directory)
    _check_readable(directory)
    layout = _layout(directory)
    if layout == _LAYOUT:
        raise ConfigurationError(
            f'{directory} is the blob cache of a client, not the blob directory of the server: '
            f'{_REMEDY}'
        )
    if not layout:
        log.warning(
            '%s has no file %s, which the blob directory of a server has: is it mounted?',
            directory,
            LAYOUT_MARKER,
        )
    try:
        return FilesystemHelper(directory)
    except KeyError:
        raise ConfigurationError(
            f'{directory} has the layout {layout!r}, which this version of ZODB does not know: '
            'install a newer ZODB'
        ) from None


def _check_readable(directory: str) -> None:
    if not os.path.isdir(directory):
        raise ConfigurationError(
            f'there is no directory {directory}, but shared_blob_dir needs the blob directory of '
            f'the server there: {_REMEDY}'
        )
    if not os.access(directory, os.R_OK | os.X_OK):
        raise ConfigurationError(
            f'this process may not read {directory}, the blob directory of the server: give it '
            'read access'
        )


def make_way(directory: str, mode: int) -> None:
    """Make a directory if it is missing; what is in its way is moved aside.

    :param mode: of the directory, less the umask.
    """
    try:
        os.makedirs(directory, mode, exist_ok=True)
        return
    except (FileExistsError, NotADirectoryError):
        pass
    number = 0
    while os.path.lexists(aside := f'{directory}.bad' + (f'.{number}' if number else '')):
        number += 1
    os.rename(directory, aside)
    log.warning('%s is not a directory: it is now %s', directory, aside)
    os.makedirs(directory, mode, exist_ok=True)


def _layout(directory: str) -> str:
    """Return what the marker file says, '' without one."""
    try:
        with open(
            os.path.join(directory, LAYOUT_MARKER), encoding='utf-8', errors='replace'
        ) as marker:
            return marker.read(100).strip('\0').strip()  # zeros: left by a power failure
    except OSError:
        return ''
