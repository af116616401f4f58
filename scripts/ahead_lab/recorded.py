"""What an application has loaded, one object after the other, and what these objects refer to.

Enters: a FileStorage and the oids that were loaded; or such a file. Leaves: the other. Fails:
ValueError for another file, OSError.

Nothing of the records is kept but their sizes, their classes and their references: what read-ahead
looks at.
"""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ZODB.utils import p64

from ZEO.wire.likely_references import likely_references

DIRECTORY = Path(__file__).with_name('recorded')
_WHAT = 'loads of an application'


@dataclass(frozen=True)
class Walk:
    """What was loaded, and all records of the database."""

    loads: list[bytes]
    records: dict[bytes, bytes]


def names() -> list[str]:
    """Return what there is."""
    return sorted(path.stem for path in DIRECTORY.glob('*.xz'))


def write(path: str, loads: list[bytes], records: dict[bytes, bytes]) -> None:
    """Write a walk; oids become numbers, in their order."""
    numbers = {oid: number for number, oid in enumerate(sorted(records))}
    classes: dict[str, int] = {}
    objects: list[list[int]] = []
    for oid in sorted(records):
        data = records[oid]
        name = classes.setdefault(_class_of(data), len(classes))
        refers_to = [numbers[one] for one in likely_references(data) if one in numbers]
        objects.append([len(data), name, *refers_to])
    whole = {
        'what': _WHAT,
        'classes': list(classes),
        'objects': objects,
        'loads': [numbers[oid] for oid in loads],
    }
    with lzma.open(path, 'wt', encoding='utf-8', preset=9) as file:
        json.dump(whole, file, separators=(',', ':'))


def _class_of(data: bytes) -> str:
    """Return the two lines of a record that name its class, as read-ahead takes them for one."""
    return '\n'.join(data[:200].decode('latin-1').split('\n')[:2])


def read(path: str) -> Walk:
    """Return the walk in a file; its records are made up, and lead to the same as the real ones.

    :raises ValueError: when it is not such a file.
    """
    try:
        with lzma.open(path, 'rt', encoding='utf-8') as file:
            whole = json.load(file)
    except (lzma.LZMAError, EOFError, ValueError) as error:
        raise ValueError(f'{path} has no recorded loads: {error}') from error
    if whole.get('what') != _WHAT:
        raise ValueError(f'{path} has no recorded loads')
    classes = [name.encode('latin-1') for name in whole['classes']]
    records = {
        p64(number): _record(size, classes[name], refers_to)
        for number, (size, name, *refers_to) in enumerate(whole['objects'])
    }
    return Walk([p64(number) for number in whole['loads']], records)


def _record(size: int, name: bytes, refers_to: list[Any]) -> bytes:
    """Return a record of that class and size which looks as if it had these references."""
    begin = name + b'\nq\x01.'
    references = b''.join(b'C\x08%bh\x01\x86Q' % p64(number) for number in refers_to)
    return begin + references + b'.' * (size - len(begin) - len(references))
