"""The content of a backup as a source, up to its end or to an earlier moment.

Enters: the directory of a backup. Leaves: the transactions of one of its sets, each part of which
is compared with its checksum before it is read, and their blobs. Fails:
:class:`~ZEO.data.outcome.Different` with the file that is damaged; OSError where the disk does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone

from persistent.TimeStamp import TimeStamp
from ZODB.utils import z64

from ZEO.data import backupblobs
from ZEO.data.digests import file_digest
from ZEO.data.history import named
from ZEO.data.manifest import Manifest, Part, Set
from ZEO.data.outcome import DataError, Different, Findings
from ZEO.data.parts import BackedUp, PartReader
from ZEO.Exceptions import ConfigurationError
from ZEO.progress import Progress

DAMAGED = 'files of a backup that are damaged'


def moment(text: str) -> bytes:
    """Return the last tid that belongs to a moment.

    :param text: a tid in 16 hexadecimal digits, or a date or time as ISO 8601 writes it, in UTC if
        it says no time zone.
    :raises ConfigurationError: when it is neither.
    """
    try:
        if len(text) == 16:
            return bytes.fromhex(text)
    except ValueError:  # a time of that length
        pass
    try:
        at = datetime.fromisoformat(text.replace('Z', '+00:00'))
        at = (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
        seconds = at.second + at.microsecond / 1e6
        return TimeStamp(at.year, at.month, at.day, at.hour, at.minute, seconds).raw()
    except (ValueError, OverflowError):  # also for a year before 1900
        raise ConfigurationError(
            f'{text!r} is not a moment: give a time such as 2026-11-26T03:30:00, in UTC, or the '
            '16 hexadecimal digits of a transaction'
        ) from None


def choose(manifest: Manifest, at: bytes | None) -> Set:
    """Return the set that has a moment: the oldest one, since packs may have taken things away
    since; without a moment the last one that is whole.

    :raises DataError: when there is none.
    """
    if at is not None:
        found = [one for one in manifest.sets if one.parts and one.last_tid >= at]
        if found:
            if bytes.fromhex(found[0].parts[0].first) > at:
                raise DataError(
                    f'{manifest.directory} begins with '
                    f'{named(bytes.fromhex(found[0].parts[0].first))}, which is later: give a '
                    'later moment with --at'
                )
            return found[0]
    whole = [one for one in manifest.sets if one.whole]
    if not whole:
        raise DataError(
            f'{manifest.directory} has no backup that is whole: the first one was stopped; run '
            'zeo backup again, or give a moment that it has come to with --at'
        )
    return whole[-1]


class BackupSource:
    """One set of a backup.

    :param at: the last transaction that counts.
    """

    def __init__(self, manifest: Manifest, chosen: Set, at: bytes | None) -> None:
        self.name = manifest.directory
        self._set, self._at = chosen, at
        self.directory = manifest.path(chosen.name)
        self._checked: set[str] = set()  # parts whose checksum is right
        self._current: BackedUp | None = None  # the transaction that is read
        self.lost: Findings | None = Findings()

    def last_tid(self) -> bytes:
        last = self._set.last_tid
        if self._at is None or self._at >= last:
            return last
        found = z64
        begun = [part for part in self._set.parts if bytes.fromhex(part.first) <= self._at]
        for transaction in self._part(begun[-1]) if begun else ():
            if transaction.tid > self._at:
                break
            found = transaction.tid
        return found

    def transactions(self, start: bytes | None, stop: bytes | None) -> Iterator[BackedUp]:
        begin, end = (start or z64).hex(), 'g' if stop is None else stop.hex()
        for part in self._set.parts:
            if part.last < begin or part.first > end:
                continue
            for transaction in self._part(part):
                if begin <= transaction.tid.hex() <= end:
                    self._current = transaction
                    yield transaction

    def _part(self, part: Part) -> Iterator[BackedUp]:
        path = os.path.join(self.directory, part.file)
        if path not in self._checked:
            check_part(path, part)
            self._checked.add(path)
        reader = PartReader(path)
        try:
            yield from reader
        finally:
            reader.close()

    def blob(self, oid: bytes, tid: bytes) -> str | None:
        found = None if self._current is None else self._current.blobs.get((oid, tid))
        if found is None and not self._set.blobs:
            raise DataError(f'{self.name} was made without blobs: give --no-blobs')
        if found is None:  # it had no file when it was backed up
            return None
        path = backupblobs.path_of(self.directory, oid, tid, found[1])
        backupblobs.check(path, found[1])
        return path

    def release(self, path: str) -> None:
        """It stays."""

    def keeps_history(self) -> bool:
        return True

    def size(self) -> int:
        return self._set.size

    def close(self) -> None:
        """There is nothing to close."""


def check_part(path: str, part: Part) -> None:
    """Compare a part with its checksum.

    :raises Different: when it is not what it was.
    """
    try:
        found = file_digest(path)
    except FileNotFoundError:
        raise Different(f'{path} is missing: restore an earlier moment with --at') from None
    if found != (part.size, part.sha256):
        raise Different(f'{path} is damaged: its checksum is not that of zeo-backup.json')


def verify(manifest: Manifest, progress: Progress) -> Findings:
    """Compare everything in a backup with its checksums; return what is damaged."""
    findings = Findings()
    seen: set[int] = set()  # inodes of blobs that sets share
    for one in manifest.sets:
        for part in one.parts:
            path = manifest.path(one.name, part.file)
            try:
                check_part(path, part)
                _check_blobs(path, manifest.path(one.name), seen, findings, progress)
            except Different as error:
                findings.add(DAMAGED, str(error))
            progress.transactions += part.transactions
            progress.bytes += part.size
            progress.show()
    return findings


def _check_blobs(
    path: str, directory: str, seen: set[int], findings: Findings, progress: Progress
) -> None:
    reader = PartReader(path)
    try:
        for transaction in reader:
            for record, blob in transaction.with_blobs():
                progress.records += 1
                if blob is not None:
                    file = backupblobs.path_of(directory, record.oid, record.tid, blob[1])
                    _check_blob(file, blob, seen, findings)
                    progress.blob(blob[0])
    finally:
        reader.close()


def _check_blob(path: str, blob: tuple[int, str], seen: set[int], findings: Findings) -> None:
    try:
        status = os.stat(path)
        if status.st_ino not in seen:
            backupblobs.check(path, blob[1])
            if status.st_nlink > 1:
                seen.add(status.st_ino)
    except FileNotFoundError:
        findings.add(DAMAGED, f'{path} is missing')
    except Different as error:
        findings.add(DAMAGED, str(error))
