"""Accesses that real applications made, recorded by ``cache_record.py``, in small files.

Enters: accesses, or such a file. Leaves: the other. Fails: ValueError for another file, OSError.
"""

from __future__ import annotations

import lzma
from array import array
from collections.abc import Iterable
from pathlib import Path

from ZEO.cache.simulate import Access

DIRECTORY = Path(__file__).with_name('recorded')
_MAGIC = b'ZEO accesses\n'


def names() -> list[str]:
    """Return what there is."""
    return sorted(path.stem for path in DIRECTORY.glob('*.xz'))


def write(path: str, accesses: Iterable[Access]) -> None:
    """Write accesses; oids become numbers in the order in which they are met."""
    numbers: dict[int, int] = {}
    flat = array('I')
    for oid, size in accesses:
        flat.extend((numbers.setdefault(oid, len(numbers)), size))
    columns = flat[::2].tobytes() + flat[1::2].tobytes()
    with lzma.open(path, 'wb', preset=9) as file:
        file.write(_MAGIC + columns)


def read(path: str) -> list[Access]:
    """Return the accesses in a file.

    :raises ValueError: when it is not such a file.
    """
    try:
        with lzma.open(path) as file:
            found = file.read()
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f'{path} has no recorded accesses: {error}') from error
    if not found.startswith(_MAGIC):
        raise ValueError(f'{path} has no recorded accesses')
    flat = array('I', found[len(_MAGIC) :])
    half = len(flat) // 2
    return list(zip(flat[:half], flat[half:], strict=True))
