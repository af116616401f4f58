"""A FileStorage file with some transactions of another one.

Enters: an open FileStorage, and places of transactions in its file. Leaves: a file that FileStorage
opens, on the disk, and a directory of blobs beside it where they have some. Fails: OSError of the
disk; a part of a file is not left behind.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from struct import pack
from typing import Any

from ZODB.blob import FilesystemHelper
from ZODB.FileStorage.FileStorage import packed_version
from ZODB.FileStorage.format import DATA_HDR, TRANS_HDR, TRANS_HDR_LEN
from ZODB.utils import p64, z64

from ZEO.files import remove_if_there
from ZEO.replica.ours import Ours, Place
from ZEO.serving.crash_safety import sync_directory
from ZEO.wire.guarded import is_blob


def save(storage: Any, ours: Ours, places: Iterable[Place], path: str) -> None:
    """Save transactions with their blobs, unless that was done before.

    :param path: of the file; that of the blobs is the same with ``.blobs`` for ``.fs``.
    :raises OSError: when it cannot be written.
    """
    if os.path.exists(path):
        return
    temporary = path + '.tmp'
    try:
        with open(temporary, 'wb') as file:
            _write(storage, ours.transactions(list(places)), file, path)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        remove_if_there(temporary)
        raise
    sync_directory(path)


def _write(storage: Any, transactions: Iterable[Any], file: Any, path: str) -> None:
    file.write(packed_version)
    index: dict[bytes, int] = {}
    for transaction in transactions:
        begin = file.tell()
        texts = transaction.user, transaction.description, transaction.extension_bytes
        file.write(b'\0' * TRANS_HDR_LEN + b''.join(texts))
        own: dict[bytes, int] = {}
        for record in transaction:
            at = file.tell()
            data = record.data
            before = index.get(record.oid, 0)
            file.write(pack(DATA_HDR, record.oid, record.tid, before, begin, 0, len(data or b'')))
            file.write(data or z64)
            own[record.oid] = at
            if is_blob(data):
                _save_blob(storage, record, path)
        index.update(own)
        end = file.tell()
        file.write(p64(end - begin))
        file.seek(begin)
        # not as packed, which would say that something in front of it was removed
        file.write(pack(TRANS_HDR, transaction.tid, end - begin, b' ', *map(len, texts)))
        file.seek(end + 8)


def _save_blob(storage: Any, record: Any, path: str) -> None:
    if not storage.blob_dir:
        return
    source = storage.fshelper.getBlobFilename(record.oid, record.tid)
    if not os.path.exists(source):
        return
    saved = FilesystemHelper(path.removesuffix('.fs') + '.blobs')
    saved.create()
    saved.getPathForOID(record.oid, create=True)
    target = saved.getBlobFilename(record.oid, record.tid)
    if not os.path.exists(target):
        with open(source, 'rb') as file, open(target + '.tmp', 'wb') as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())  # the replica's own goes next
        shutil.copystat(source, target + '.tmp')
        os.replace(target + '.tmp', target)
        sync_directory(target)
