"""The directory of a backup that ZODB's repozo has made, as a source.

Enters: the directory. Leaves: the file of a FileStorage, put together from its parts, each of which
is compared with its checksum. Fails: :class:`~ZEO.data.outcome.Different` with the file that is
damaged; OSError where the disk does.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import zlib
from datetime import datetime, timezone
from hashlib import md5
from typing import Any, BinaryIO

from persistent.TimeStamp import TimeStamp

from ZEO.data.outcome import DataError, Different
from ZEO.data.sources import FileSource
from ZEO.leftovers import make_directory

_FILE = re.compile(r'(\d{4}(?:-\d\d){5})\.(fs|fsz|deltafs|deltafsz)')

#: Bytes that are copied at once.
_AT_ONCE = 1 << 20


def is_repozo(directory: str) -> bool:
    """Return whether a directory is that of repozo."""
    try:
        return any(map(_FILE.fullmatch, os.listdir(directory)))
    except OSError:
        return False


def chain(directory: str, at: bytes | None) -> list[str]:
    """Return the names of the files that hold a moment, the full one first; without a moment those
    that hold the last one.

    :raises DataError: when there is none.
    """
    names = sorted(name for name in os.listdir(directory) if _FILE.fullmatch(name))
    found: list[str] = []
    for name in names:
        if '.fs' in name:
            found = []
        elif not found:
            continue  # its full one is gone
        found.append(name)
        if at is not None and _made(name) >= at:
            break
    if not found:
        raise DataError(f'{directory} has no full backup of repozo, a file *.fs or *.fsz')
    return found


def _made(name: str) -> bytes:
    """Return the highest tid that can be in the file of this name."""
    match = _FILE.fullmatch(name)
    assert match is not None
    at = datetime.strptime(match[1], '%Y-%m-%d-%H-%M-%S').replace(tzinfo=timezone.utc)
    return TimeStamp(at.year, at.month, at.day, at.hour, at.minute, float(at.second)).raw()


def _checksums(directory: str, full: str) -> dict[str, tuple[int, str]]:
    """Return size and MD5 of each file, as the one beside the full backup says."""
    path = os.path.join(directory, os.path.splitext(full)[0] + '.dat')
    found = {}
    try:
        with open(path, encoding='utf-8') as file:
            for line in file:
                name, start, end, digest = line.rsplit(maxsplit=3)  # a path has spaces
                found[os.path.basename(name)] = int(end) - int(start), digest
    except FileNotFoundError:
        raise Different(f'{path} is missing, which has the checksums of {full}') from None
    except ValueError:
        raise Different(
            f'{path} is damaged: a line has not a name, two numbers and a sum'
        ) from None
    return found


class RepozoSource(FileSource):
    """What is in a directory of repozo.

    :param at: the last transaction that counts.
    :param blobs: a copy of the blob directory, which repozo does not make.
    :param temporary: the directory for the file that is put together.
    """

    def __init__(
        self, directory: str, at: bytes | None, blobs: str | None, temporary: str | None = None
    ) -> None:
        self._at = at
        self._private = make_directory('zeo-repozo', temporary)
        try:
            path = os.path.join(self._private, 'Data.fs')
            put_together(directory, chain(directory, at), path)
            super().__init__(path, blobs)
        except BaseException:
            self.close()
            raise
        self.name = directory

    def last_tid(self) -> bytes:
        last = super().last_tid()
        return last if self._at is None else min(last, self._at)

    def close(self) -> None:
        shutil.rmtree(self._private, ignore_errors=True)


def put_together(directory: str, names: list[str], path: str) -> None:
    """Write the content of files of repozo into one.

    :raises Different: when one is damaged.
    """
    sums = _checksums(directory, names[0])
    with open(path, 'wb') as target:
        for name in names:
            source = os.path.join(directory, name)
            try:
                found = _copy(source, target)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise Different(f'{source} is damaged: {error}') from None
            if sums.get(name) != found:
                raise Different(
                    f'{source} is damaged: its checksum is not that of '
                    f'{os.path.splitext(names[0])[0]}.dat; restore an earlier moment with --at'
                )


def _copy(path: str, target: BinaryIO) -> tuple[int, str]:
    size, digest = 0, md5(usedforsecurity=False)
    opened: Any = gzip.open(path) if path.endswith('z') else open(path, 'rb')
    with opened as file:
        while piece := file.read(_AT_ONCE):
            target.write(piece)
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
