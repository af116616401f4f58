"""The blob files of a backup, each under a name that says what is in it.

Enters: blobs of a source. Leaves: files in the directory of a set; one that an earlier set has too
is the same file, so that it takes its space once. Fails: OSError where the disk does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ZEO.data.digests import copy_digest, create, file_digest, sync_directory
from ZEO.data.outcome import Different
from ZEO.files import remove_if_there

#: The directory in that of a set.
DIRECTORY = 'blobs'

#: A file that is being written.
BESIDE = 'blob.tmp'


def path_of(directory: str, oid: bytes, tid: bytes, digest: str) -> str:
    """Return the path of a blob's file.

    :param directory: of a set.
    """
    name = f'{oid.hex()}-{tid.hex()}-{digest}'
    return os.path.join(_directory(directory, oid), name)


def _directory(directory: str, oid: bytes) -> str:
    # 65,536 directories by the last digits, which differ most
    return os.path.join(directory, DIRECTORY, oid[-1:].hex(), oid[-2:-1].hex())


def find(directory: str, oid: bytes, tid: bytes) -> tuple[str, str] | None:
    """Return path and digest of a blob's file in a set, as its name says; None if there is none."""
    start = f'{oid.hex()}-{tid.hex()}-'
    try:
        names = os.listdir(_directory(directory, oid))
    except FileNotFoundError:
        return None
    for name in names:
        if name.startswith(start):
            return os.path.join(_directory(directory, oid), name), name[len(start) :]
    return None


def check(path: str, digest: str) -> int:
    """Return the size of a blob's file.

    :raises Different: when it is not what it was.
    """
    try:
        size, found = file_digest(path)
    except FileNotFoundError:
        raise Different(f'{path} is missing') from None
    if found != digest:
        raise Different(f'{path} is damaged: its content is not what its name says')
    return size


def take(directory: str, earlier: str | None, oid: bytes, tid: bytes) -> tuple[int, str] | None:
    """Use a file that this set, or an earlier one, has already; return its size and digest, or None
    if there is none that is whole.
    """
    for place in (directory, earlier):
        found = None if place is None else find(place, oid, tid)
        if found is None:
            continue
        path, digest = found
        try:
            size = check(path, digest)
        except Different:  # it is copied again
            if place == directory:
                os.unlink(path)
            continue
        if place != directory:
            target = path_of(directory, oid, tid, digest)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                os.link(path, target)
            except OSError:  # a file system without links
                continue
        return size, digest
    return None


def put(directory: str, oid: bytes, tid: bytes, source: str) -> tuple[int, str]:
    """Copy a blob's file into a set; return its size and digest."""
    os.makedirs(_directory(directory, oid), exist_ok=True)
    beside = os.path.join(directory, BESIDE)  # where the next backup removes it after a kill
    remove_if_there(beside)
    with open(create(beside), 'wb') as file:
        size, digest = copy_digest(source, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, path_of(directory, oid, tid, digest))
    return size, digest


def sync(directory: str, oids: Iterable[bytes]) -> None:
    """Have the names of the files of some blobs reach the disk.

    :param directory: of the set.
    """
    places = {_directory(directory, oid) for oid in oids}
    above = {os.path.dirname(place) for place in places}
    for place in places | above | {os.path.dirname(one) for one in above}:
        sync_directory(place)
