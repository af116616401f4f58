"""Blobs on the server: files that are sent in chunks, files in a shared directory.

Enters: the path of a committed blob, or a name that a client gives. Leaves: an iterator of
messages, or a path. Fails: OSError for a file that is gone; ProtocolError for a name that is not
that of a shared file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import zope.interface
from ZODB.interfaces import IBlobStorage
from ZODB.POSException import Unsupported

from ZEO import files
from ZEO.Exceptions import ProtocolError
from ZEO.wire.extensions import CHUNK_SIZE
from ZEO.wire.frames import frame
from ZEO.wire.message import Codec


def has_blobs(storage: Any) -> bool:
    """Return whether a storage has blobs: one that is itself a client may be without a directory
    for them.
    """
    if not hasattr(storage, 'is_connected') or not IBlobStorage.providedBy(storage):
        return IBlobStorage.providedBy(storage)
    try:
        return bool(storage.temporaryDirectory())
    except Unsupported:
        return False


def interfaces(storage: Any) -> tuple[tuple[str, str], ...]:
    """Return the (module, name) of each interface of a storage, without those of blobs where it has
    none.
    """
    without = () if has_blobs(storage) else (IBlobStorage,)
    return tuple(
        (interface.__module__, interface.__name__)
        for interface in zope.interface.providedBy(storage).flattened()
        if not any(interface.isOrExtends(blobs) for blobs in without)
    )


def require(storage: Any) -> None:
    """Raise Unsupported where a storage has no blobs."""
    if not has_blobs(storage):
        raise Unsupported(f'the storage {storage.getName()} has no blob directory')


def shared_path(storage: Any, oid: bytes, name: str) -> str:
    """Return the path of a temporary file that a client has put into the shared directory, where
    the blobs of `oid` are.

    :raises ProtocolError: for a name that is more than a file's, that of a committed blob, or that
        of something else than a regular file there.
    """
    path = os.path.join(storage.fshelper.getPathForOID(oid), name)
    good = os.path.basename(name) == name and name not in ('', '.', '..')
    try:
        if good and not name.endswith('.blob'):
            check_file(storage, path)
            return path
    except (OSError, ValueError):  # a name that cannot be one
        pass
    raise ProtocolError(
        f'client named {name!r}, which is not a temporary file of the shared blob directory'
    )


def check_file(storage: Any, path: str) -> None:
    """Make sure that a file which a storage is to take is one: in a directory that clients share,
    another user may have put something else there since it was named.

    :raises OSError: when it is not.
    """
    files.check_below(_top(storage), path)


def _top(storage: Any) -> str:
    """Return the directory of a storage's blobs; '' where it is not known."""
    top = getattr(getattr(storage, 'fshelper', None), 'base_dir', '')
    return top if isinstance(top, str) else ''


def remove_files(storage: Any, paths: list[str]) -> None:
    """Remove what is still there of some temporary files of a storage, which takes those that it
    can use. Where another user has put a link into the way to one, it stays: it leads elsewhere.
    """
    for path in paths:
        with suppress(OSError, ValueError):  # there was no descriptor for one, so it has no name
            files.check_way(_top(storage), path)
            os.unlink(path)
    paths.clear()


def forget_stored(storage: Any, transaction: Any) -> None:
    """Remove the files of blobs that a transaction has stored so far: before it is aborted, since
    ZODB's own storages do that for a transaction that was voted on, and leave those of one that
    failed earlier.
    """
    parts = [storage]
    while parts:
        part = parts.pop()
        inside = getattr(part, '__dict__', {})
        if (
            inside.get('_transaction') is transaction
            and inside.get('dirty_oids')
            and hasattr(part, '_blob_tpc_abort')
        ):
            part._blob_tpc_abort()
        parts += [inside[name] for name in ('base', 'changes') if name in inside]


def download(
    path: str, codec: Codec, message_id: Any, oid: bytes, serial: bytes, announced: bool = False
) -> Iterator[bytes]:
    """Yield the messages that send a committed blob's file, and last the answer to the call.

    :param announced: begin with the file's length, for a client that has asked for it.
    :raises OSError: when it cannot be read, or is something else than a file: the directory may be
        one that clients share.
    """
    with open(path, 'rb', opener=files.opened) as file:
        length = (os.fstat(file.fileno()).st_size,) if announced else ()
        yield frame(codec.send('receiveBlobStart', (oid, serial, *length)))
        while chunk := file.read(CHUNK_SIZE):
            yield frame(codec.send('receiveBlobChunk', (oid, serial, chunk)))
        yield frame(codec.send('receiveBlobStop', (oid, serial)))
    yield frame(codec.reply(message_id, None))
