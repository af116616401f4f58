"""What is in the directory of a backup, in a file that changes as a whole.

Enters: the directory. Leaves: its sets and their parts, with checksums; the file is replaced in one
step, and the one before it is kept. Fails: :class:`~ZEO.data.outcome.Different` for a file that is
damaged; OSError where the disk does.

A set is a full backup and the increments behind it: together the history from the first transaction
to the last, in parts, each of which is written once.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import Any

from zc.lockfile import LockError, LockFile
from ZODB.utils import z64

from ZEO.data.digests import create, sync_directory
from ZEO.data.outcome import DataError, Different
from ZEO.files import remove_if_there

NAME = 'zeo-backup.json'
OLD = f'{NAME}.old'
LOCK = 'zeo-backup.lock'

#: Which form the file has.
FORMAT = 1

#: Names that sets and parts have: none leads out of the directory.
SET_NAME, _PART = re.compile(r'\d{8}T\d{6}(?:-\d{1,9})?'), re.compile(r'part-\d{5,9}\.zeo')

_TID, _SHA256 = re.compile(r'[0-9a-f]{16}'), re.compile(r'[0-9a-f]{64}')

_KINDS = {'str': str, 'int': int, 'bool': bool}


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
    blobs: bool = True  # whether the files of blobs are in it
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
        remove_if_there(beside)
        with open(create(beside), 'w', encoding='utf-8') as file:
            json.dump(content, file, indent=1, sort_keys=True)
            file.write('\n')
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(self.path(NAME)):
            remove_if_there(self.path(OLD))
            try:
                os.link(self.path(NAME), self.path(OLD))
            except OSError:  # a file system without links
                with (
                    open(create(self.path(OLD)), 'wb') as target,
                    open(self.path(NAME), 'rb') as now,
                ):
                    shutil.copyfileobj(now, target)
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
        found = [_set(one) for one in content['sets']]
        _require(len({one.name for one in found}) == len(found), 'two sets have one name')
        return Manifest(directory, found)
    except FileNotFoundError:
        raise DataError(f'{directory} is not a backup: it has no {NAME}') from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Different(
            f'{path} is damaged ({error}): copy {OLD}, the one before it, over it'
        ) from None


def _set(found: dict[str, Any]) -> Set:
    marks = {
        name: None if found[name] is None else _mark(Mark(**found[name]))
        for name in ('unpacked', 'last')
    }
    made = _typed(Set(**{**found, **marks, 'parts': [_part(Part(**it)) for it in found['parts']]}))
    _matches(SET_NAME, made.name)
    _matches(_TID, made.packed)
    tids = [tid for part in made.parts for tid in (part.first, part.last)]
    _require(tids == sorted(tids), f'the parts of {made.name} are not in order')
    names = {part.file for part in made.parts}
    _require(len(names) == len(made.parts), f'two parts of {made.name} have one name')
    return made


def _mark(made: Mark) -> Mark:
    _matches(_TID, _typed(made).tid)
    return made


def _part(made: Part) -> Part:
    for pattern, text in (
        (_PART, _typed(made).file),
        (_TID, made.first),
        (_TID, made.last),
        (_SHA256, made.sha256),
    ):
        _matches(pattern, text)
    return made


def _typed(made: Any) -> Any:
    """Return an object whose attributes have the types that they should have."""
    for one in fields(made):
        value: Any = getattr(made, one.name)
        kind = _KINDS.get(str(one.type))
        right = kind is None or type(value) is kind
        _require(right and (kind is not int or value >= 0), f'{one.name} is {value!r:.100}')
    return made


def _matches(pattern: re.Pattern[str], text: str) -> None:
    _require(pattern.fullmatch(text) is not None, f'{text!r:.100} cannot stand in it')


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ValueError(text)


@contextmanager
def locked(directory: str, reads: bool = False) -> Iterator[None]:
    """Keep other backups and restores out of a directory.

    :param reads: whether it is only read, which a file system without write access allows.
    :raises DataError: when one is running.
    """
    path = os.path.join(directory, LOCK)
    if os.path.islink(path):
        raise DataError(f'{path} is a symbolic link: remove it')
    try:
        lock = LockFile(path)
    except OSError as error:
        if reads and error.errno in (errno.EROFS, errno.EACCES):  # a backup cannot run either
            yield
            return
        raise
    except LockError:
        raise DataError(
            f'{directory} is in use by another backup, restore or verification: wait until that '
            'has ended'
        ) from None
    try:
        yield
    finally:
        lock.close()
