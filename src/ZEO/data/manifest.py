"""What is in the directory of a backup, in a file that changes as a whole.

Enters: the directory. Leaves: its sets and their parts, with checksums; the file is replaced in one
step, and the one before it is kept. Fails: :class:`~ZEO.data.outcome.Different` for a file that is
damaged; OSError where the disk does.

A set is a full backup and the increments behind it: together the history from the first transaction
to the last, in parts, each of which is written once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from zc.lockfile import LockError, LockFile
from ZODB.utils import z64

from ZEO.data.digests import sync_directory
from ZEO.data.outcome import DataError, Different
from ZEO.files import remove_if_there

NAME = 'zeo-backup.json'
OLD = f'{NAME}.old'
LOCK = 'zeo-backup.lock'

#: Which form the file has.
FORMAT = 1


@dataclass(frozen=True)
class Part:
    """One part file."""

    file: str  # its name in the directory of its set
    first: str  # tid of its first transaction, in hexadecimal digits
    last: str
    transactions: int
    records: int
    blobs: int
    blob_bytes: int
    size: int
    sha256: str
    made: str  # when it was finished


@dataclass
class Mark:
    """A transaction that the source has to have, or it is not what was backed up any more."""

    tid: str
    status: str
    digest: str


@dataclass
class Set:
    """A full backup and its increments."""

    name: str  # of its directory
    source: str  # what was backed up, for people
    whole: bool = False  # whether it has come to the end of the source once
    parts: list[Part] = field(default_factory=list)
    packed: str = z64.hex()  # the last transaction that a pack had gone over
    unpacked: Mark | None = None  # the first one behind it
    last: Mark | None = None

    @property
    def last_tid(self) -> bytes:
        """The last transaction that is in it; zeros if there is none."""
        return bytes.fromhex(self.parts[-1].last) if self.parts else z64

    @property
    def size(self) -> int:
        """Bytes of records and blobs."""
        return sum(part.size + part.blob_bytes for part in self.parts)


@dataclass
class Manifest:
    """The file that says what is in a directory."""

    directory: str
    sets: list[Set] = field(default_factory=list)

    def path(self, *names: str) -> str:
        """Return a path in the directory."""
        return os.path.join(self.directory, *names)

    def save(self) -> None:
        """Replace the file."""
        content: dict[str, Any] = {
            'format': FORMAT,
            'sets': [asdict(one) for one in self.sets],
        }
        content['sha256'] = _checksum(content)
        beside = self.path(f'{NAME}.tmp')
        with open(beside, 'w', encoding='utf-8') as file:
            json.dump(content, file, indent=1, sort_keys=True)
            file.write('\n')
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(self.path(NAME)):
            remove_if_there(self.path(OLD))
            os.link(self.path(NAME), self.path(OLD))
        os.rename(beside, self.path(NAME))
        sync_directory(self.directory)


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(',', ':'))
    return sha256(text.encode()).hexdigest()


def is_backup(directory: str) -> bool:
    """Return whether a directory is that of a backup."""
    return os.path.isfile(os.path.join(directory, NAME))


def load(directory: str, name: str = NAME) -> Manifest:
    """Return what is in the directory of a backup.

    :raises Different: when the file that says so is damaged.
    :raises DataError: when there is none.
    """
    path = os.path.join(directory, name)
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        checksum = content.pop('sha256')
        if checksum != _checksum(content):
            raise ValueError('its checksum is wrong')
        if content['format'] != FORMAT:
            raise DataError(f'{path} is of a newer version of ZEO: use that one')
        return Manifest(directory, [_set(one) for one in content['sets']])
    except FileNotFoundError:
        raise DataError(f'{directory} is not a backup: it has no {NAME}') from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Different(
            f'{path} is damaged ({error}): copy {OLD}, the one before it, over it'
        ) from None


def _set(found: dict[str, Any]) -> Set:
    marks = {
        name: None if found[name] is None else Mark(**found[name]) for name in ('unpacked', 'last')
    }
    return Set(**{**found, **marks, 'parts': [Part(**part) for part in found['parts']]})


@contextmanager
def locked(directory: str) -> Iterator[None]:
    """Keep other backups and restores out of a directory.

    :raises DataError: when one is running.
    """
    try:
        lock = LockFile(os.path.join(directory, LOCK))
    except LockError:
        raise DataError(
            f'{directory} is in use by another backup, restore or verification: wait until that '
            'has ended'
        ) from None
    try:
        yield
    finally:
        lock.close()
