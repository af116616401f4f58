"""Paths of a server's configuration at which something of another kind is, found before the start.

Enters: what a configuration says. Leaves: nothing; no file is made, opened or removed. Fails:
:class:`ConfigurationError`, with the place of the section where there is one, for the first path
that cannot be what it is named for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

import ZODB.config

from ZEO import files
from ZEO.config.loading import at
from ZEO.config.replica import ReplicaSection
from ZEO.Exceptions import ConfigurationError, Unavailable
from ZEO.net.addresses import Address


def check_log_files(loggers: list[Any]) -> None:
    """Find log files whose directory is missing, and directories in the place of log files.

    :raises ConfigurationError: when there is one.
    """
    for logger in loggers:
        for handler in logger.handler_factories:
            path = getattr(handler.section, 'path', None)
            directory = os.path.dirname(path) if path else ''
            if directory and not os.path.isdir(directory):
                # Unavailable, since it may be on a disk that is not mounted yet.
                raise Unavailable(
                    at(
                        handler.section,
                        f'there is no directory {directory} for the log file {path}: '
                        'create it first',
                    )
                )
            if path and os.path.isdir(path):
                raise ConfigurationError(
                    at(
                        handler.section,
                        f'the log file {path} is a directory: name a file, such as '
                        f'{os.path.join(path, "zeo.log")}',
                    )
                )


def check_pid_file(path: str) -> None:
    """Find out whether a process id cannot be written to `path`, whatever its rights.

    :raises ConfigurationError: when there is anything but a file with a process id.
    """
    try:
        files.check_pid(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.filename is not None and not isinstance(error, PermissionError):
            raise ConfigurationError(
                f'cannot write the process id to {path}: {error.strerror}'
            ) from None


def check_sockets(wanted: list[Address]) -> None:
    """Find addresses that are paths at which there can be no socket.

    :raises ConfigurationError: for one at which another kind of file is, or without a directory.
    """
    for path in wanted:
        if not isinstance(path, str):
            continue
        directory = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(directory):
            kind = ConfigurationError if os.path.exists(directory) else Unavailable
            raise kind(f'cannot listen on {path}: there is no directory {directory}')
        if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigurationError(
                f'cannot listen on {path}: there is a file of that name that is not a socket'
            )


def check_data(sections: Iterator[tuple[str, Any]]) -> None:
    """Find directories in the place of data files, files in the place of blob directories, and
    files that two storages would share, and disks to which nothing can be written.

    :param sections: the name of each storage, and its section.
    :raises ConfigurationError: when there is one; Unavailable for a disk.
    """
    owners: dict[str, str] = {}
    for name, outer in sections:
        for section in _nested(outer):
            try:
                _check_section(name, section, owners)
            except ConfigurationError as error:
                raise type(error)(at(section, str(error))) from None


def _check_section(name: str, section: Any, owners: dict[str, str]) -> None:
    config = getattr(section, 'config', section)
    path, blobs = getattr(config, 'path', None), getattr(config, 'blob_dir', None)
    # a path of another kind of storage may be anything
    if isinstance(section, (ZODB.config.FileStorage, ReplicaSection)):
        assert isinstance(path, str)  # a required key of both
        if os.path.isdir(path):
            raise ConfigurationError(
                f'path {path} of storage {name} is a directory: name a file, such as '
                f'{os.path.join(path, "Data.fs")}'
            )
        if not getattr(config, 'read_only', False):
            _check_written(name, path, blobs, owners)
    if isinstance(blobs, str) and os.path.exists(blobs) and not os.path.isdir(blobs):
        raise ConfigurationError(f'blob-dir {blobs} of storage {name} is not a directory')


def _check_written(name: str, path: str, blobs: Any, owners: dict[str, str]) -> None:
    """Find what keeps the files of a storage from being written to."""
    other = owners.setdefault(os.path.realpath(path), name)
    if other != name:
        raise ConfigurationError(
            f'storages {other} and {name} have the same path {path}: give each its own'
        )
    _check_disk(f'path {path} of storage {name}', path)
    if isinstance(blobs, str):
        _check_disk(f'blob-dir {blobs} of storage {name}', blobs)


def _check_disk(what: str, path: str) -> None:
    """Find out whether a path is on a disk that is mounted read-only for every user.

    :raises Unavailable: when it is: it may be mounted for writing later.
    """
    while not os.path.exists(path):  # it ends with the root
        path = os.path.dirname(os.path.abspath(path))
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise Unavailable(
            f'{what} is on a read-only file system: mount it for writing, or serve it with '
            'read-only true'
        )


def _nested(section: Any) -> Iterator[Any]:
    """Yield a section's configuration, and those of the sections in it."""
    config = getattr(section, 'config', section)
    yield section
    if hasattr(config, 'getSectionAttributes'):
        for attribute in config.getSectionAttributes():
            value = getattr(config, attribute)
            for one in value if isinstance(value, list) else [value]:
                if hasattr(one, 'config'):
                    yield from _nested(one)
