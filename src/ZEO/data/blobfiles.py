"""Whether every blob has its file, and every file in a blob directory its blob.

Enters: the records of blobs, and a source that has their files. Leaves: findings, and how many
there are. Fails: ClientDisconnected when a server is lost.
"""

from __future__ import annotations

import os

from ZODB.blob import BLOB_SUFFIX, FilesystemHelper

from ZEO.data.history import named
from ZEO.data.outcome import Findings
from ZEO.data.sources import FileSource, Record, Source
from ZEO.files import opened

MISSING = 'blobs without a file'
STRAY = 'blob files without a record'
UNREADABLE = 'blob files that cannot be read'


class BlobFiles:
    """The blobs of a database."""

    def __init__(self, source: Source, findings: Findings) -> None:
        self._source, self._findings = source, findings
        self._seen: set[bytes] = set()  # oid and tid of each blob
        self._in_directory = isinstance(source, FileSource) and source.blobs is not None
        self.count = self.bytes = 0

    def check(self, record: Record) -> int:
        """Look for the file of a blob; return its size."""
        self.count += 1
        if self._in_directory:
            self._seen.add(record.oid + record.tid)
        text = f'blob {record.oid.hex()} of {named(record.tid)}'
        path = self._source.blob(record.oid, record.tid)
        if path is None:
            self._findings.add(MISSING, f'{text} has no file')
            return 0
        size = self._size(path, text)
        self._source.release(path)
        self.bytes += size
        return size

    def _size(self, path: str, text: str) -> int:
        try:
            with open(path, 'rb', opener=opened) as file:
                return os.fstat(file.fileno()).st_size
        except OSError as error:
            self._findings.add(UNREADABLE, f'{text}: {path}: {error.strerror}')
            return 0

    def look_for_strays(self, last: bytes) -> None:
        """Look for files without a record.

        :param last: the last transaction that was seen; files of later ones do not count.
        """
        if not self._in_directory:
            return
        assert isinstance(self._source, FileSource)
        helper = FilesystemHelper(str(self._source.blobs))
        for oid, directory in helper.listOIDs():
            for name in sorted(os.listdir(directory)):
                if name.endswith(BLOB_SUFFIX):
                    self._look_at(helper, oid, os.path.join(directory, name), last)

    def _look_at(self, helper: FilesystemHelper, oid: bytes, path: str, last: bytes) -> None:
        _, tid = helper.splitBlobFilename(path)
        if tid is None or (tid <= last and oid + tid not in self._seen):
            self._findings.add(STRAY, f'{path} belongs to no blob in the database')
