"""Making a backup: full the first time, then what has come since, as long as that fits.

Enters: a source, and a directory. Leaves: a set of parts with checksums in it; what was there is
valid at any moment, however the work ends. Fails: :class:`~ZEO.data.outcome.CutShort` when the
source goes away, :class:`~ZEO.data.outcome.DataError` for a directory that cannot be used.

A backup ends with the transaction that was the last when it began, so that it is consistent
whatever is committed meanwhile. Its parts are finished one by one: a backup that was stopped goes
on behind the last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ZODB.utils import z64

from ZEO.data import backupblobs
from ZEO.data.blobfiles import MISSING
from ZEO.data.copying import after
from ZEO.data.digests import sync_directory
from ZEO.data.history import fingerprint, named, walk
from ZEO.data.manifest import LOCK, NAME, OLD, SET_NAME, Manifest, Mark, Part, Set, is_backup, load
from ZEO.data.outcome import CutShort, DataError, Findings
from ZEO.data.parts import PartWriter
from ZEO.data.sources import FileSource, Record, Source
from ZEO.net.system import REAL, System
from ZEO.progress import Progress
from ZEO.serving.moments import iso
from ZEO.wire.guarded import is_blob

#: Packs that may come while one backup is made: each begins it anew.
_MOST_PACKS = 5

#: What the root of a file system has, which may be the directory of a backup.
_OF_FILE_SYSTEM = 'lost+found'

#: Bytes of records after which a part is finished: what a backup that is stopped does again.
PART_BYTES = 256 * 2**20


@dataclass
class Made:
    """What a backup has done."""

    full: bool
    why: str  # a full one is made
    set: Set
    missing: Findings = field(default_factory=Findings)  # blobs without a file
    removed: list[str] = field(default_factory=list)  # sets that were not to be kept


class Backup:
    """One run of a backup.

    :param directory: of the backup; it is made if it is missing.
    :param blobs: whether blobs are backed up.
    :param part_bytes: bytes of records after which a part is finished.
    """

    def __init__(
        self,
        source: Source,
        directory: str,
        progress: Progress,
        blobs: bool = True,
        part_bytes: int = PART_BYTES,
        system: System = REAL,
    ) -> None:
        self._source, self._progress, self._with_blobs = source, progress, blobs
        self._part_bytes, self._system = part_bytes, system
        self._manifest = load(directory) if is_backup(directory) else Manifest(directory)
        self._earlier: str | None = None  # the directory of the set before
        # blobs of the part that is being written, without a file: tid -> oids
        self._missing: dict[bytes, set[bytes]] = {}
        self._lost = Findings()
        self._blobs: set[bytes] = set()  # oids of those in the part that is being written
        self.last = z64  # the last transaction that is safe

    def run(self, full: bool, keep: int | None) -> Made:
        """Make the backup.

        :param full: make a full one, whatever is there.
        :param keep: how many sets that are whole stay; all by default.
        :raises DataError: when blobs are to be backed up, and are not known.
        :raises CutShort: when the source is packed again and again.
        """
        why = 'as asked for' if full else self._why_full()
        for _ in range(_MOST_PACKS):
            try:
                done = self._run(why)
                break
            except _Packed:
                why = f'{self._source.name} was packed meanwhile'
                self._progress.begin_anew()
        else:
            raise CutShort(f'{why}, {_MOST_PACKS} times: run the same command again')
        if keep is not None:
            done.removed = forget(self._manifest, keep)
        return done

    def _run(self, why: str) -> Made:
        clean(self._manifest)
        stop, self._lost = self._source.last_tid(), Findings()
        made = self._new_set() if why else self._manifest.sets[-1]
        if len(self._manifest.sets) > 1:
            self._earlier = self._manifest.path(self._manifest.sets[-2].name)
        self.last = made.last_tid
        done = Made(not made.whole, why or 'the last one was stopped', made)
        self._write(made, stop)
        made.whole = True
        self._manifest.save()
        done.missing = self._lost
        return done

    def _why_full(self) -> str:
        """Return why the last set cannot be gone on with; an empty text if it can."""
        if not self._manifest.sets:
            return 'the first'
        last = self._manifest.sets[-1]
        self.last = last.last_tid
        if last.blobs != self._with_blobs:
            return 'the last one has no blobs' if self._with_blobs else 'the last one has blobs'
        for part in last.parts:
            path = self._manifest.path(last.name, part.file)
            if not os.path.isfile(path) or os.path.getsize(path) != part.size:
                return f'{path} is missing or damaged'
        if last.last is None:
            return ''  # it has nothing yet
        if not self._has(last.last):
            return f'{self._source.name} was packed, or is another database'
        found = self._first(after(bytes.fromhex(last.packed)), None)
        if last.unpacked is None:
            packed = found is not None and found.status == 'p'
        else:
            packed = found != last.unpacked
        return f'{self._source.name} was packed' if packed else ''

    def _has(self, wanted: Mark) -> bool:
        tid = bytes.fromhex(wanted.tid)
        return self._first(tid, tid) == wanted

    def _first(self, start: bytes | None, stop: bytes | None) -> Mark | None:
        for transaction in self._source.transactions(start, stop):
            return hashed(transaction, lambda record: None)
        return None

    def _new_set(self) -> Set:
        base = iso(self._system.wall_clock())[:19].replace('-', '').replace(':', '')
        name, number = base, 1
        while os.path.exists(self._manifest.path(name)):
            number += 1
            name = f'{base}-{number}'
        made = Set(name, self._source.name, blobs=self._with_blobs)
        os.mkdir(self._manifest.path(name), 0o700)
        sets = self._manifest.sets
        if sets and not sets[-1].whole:  # it will not become so any more
            sets.pop()
        sets.append(made)
        return made

    # Writing.

    def _write(self, made: Set, stop: bytes) -> None:
        part: PartWriter | None = None
        try:
            for transaction in walk(self._source, after(made.last_tid), stop):
                part = part or self._new_part(made)
                self._add(part, made, transaction)
                self._progress.transaction()
                if part.size >= self._part_bytes:
                    self._finish(part, made)
                    part = None
            if part is not None:
                self._finish(part, made)
                part = None
        finally:
            self._missing.clear()
            self._blobs.clear()
            if part is not None:
                part.drop()

    def _new_part(self, made: Set) -> PartWriter:
        return PartWriter(self._manifest.path(made.name, f'part-{len(made.parts) + 1:05}.zeo'))

    def _add(self, part: PartWriter, made: Set, transaction: Any) -> None:
        part.begin(transaction)
        found = hashed(transaction, lambda record: self._record(part, made, record))
        part.end()
        if found.status == 'p':
            made.packed, made.unpacked = found.tid, None
        elif made.unpacked is None:
            made.unpacked = found
        made.last = found

    def _record(self, part: PartWriter, made: Set, record: Record) -> None:
        part.record(record)
        self._progress.record(record.data)
        if self._with_blobs and is_blob(record.data):
            blob = self._blob(self._manifest.path(made.name), record.oid, record.tid)
            if blob is not None:
                self._blobs.add(record.oid)
                part.blob(*blob)
                self._progress.blob(blob[0])

    def _blob(self, directory: str, oid: bytes, tid: bytes) -> tuple[int, str] | None:
        found = backupblobs.take(directory, self._earlier, oid, tid)
        if found is not None:
            return found
        if isinstance(self._source, FileSource) and self._source.blobs is None:
            raise DataError(
                f'{self._source.name} has blobs: give their directory with --blobs, or --no-blobs '
                'to leave them out'
            )
        path = self._source.blob(oid, tid)
        if path is not None:
            try:
                found = backupblobs.put(directory, oid, tid, path)
                self._source.release(path)
                return found
            except FileNotFoundError:
                if os.path.exists(path):
                    raise
        self._missing.setdefault(tid, set()).add(oid)
        return None

    def _finish(self, part: PartWriter, made: Set) -> None:
        self._look_for_pack(part)
        digest = part.finish()
        directory = self._manifest.path(made.name)
        backupblobs.sync(directory, self._blobs)
        self._blobs.clear()
        sync_directory(directory)
        made.parts.append(
            Part(
                os.path.basename(part.path),
                part.first.hex(),
                part.last.hex(),
                part.transactions,
                part.records,
                part.blobs,
                part.blob_bytes,
                part.size,
                digest,
                iso(self._system.wall_clock()),
            )
        )
        self._manifest.save()
        self.last = part.last

    def _look_for_pack(self, part: PartWriter) -> None:
        """Note which blobs of a part have no file.

        :raises _Packed: when the record of one is gone as well.
        """
        if not self._missing:
            return
        for transaction in self._source.transactions(part.first, part.last):
            wanted = self._missing.pop(transaction.tid, None)
            if wanted is None:
                continue
            for oid in sorted(wanted & {record.oid for record in transaction}):
                wanted.remove(oid)
                text = f'blob {oid.hex()} of {named(transaction.tid)} has no file'
                self._lost.add(MISSING, text)
            if wanted:
                raise _Packed
        if self._missing:
            raise _Packed


class _Packed(Exception):
    """The source was packed while a part was written, which has records that are gone."""


def hashed(transaction: Any, seen: Callable[[Any], None]) -> Mark:
    """Return what a transaction is recognised by.

    :param seen: is called with each record.
    """
    found = fingerprint(transaction, seen)
    whole = sha256(repr(found.texts).encode())
    for oid in sorted(found.records):
        whole.update(oid + found.records[oid])
    return Mark(found.tid.hex(), transaction.status, whole.hexdigest())


def clean(manifest: Manifest) -> None:
    """Remove what a backup has left that was killed: everything that the manifest does not name.

    :raises DataError: when the directory has other things in it.
    """
    os.makedirs(manifest.directory, 0o700, exist_ok=True)
    known = {one.name: one for one in manifest.sets}
    for name in os.listdir(manifest.directory):
        path = manifest.path(name)
        if name in (NAME, OLD, LOCK, f'{NAME}.tmp', _OF_FILE_SYSTEM):
            continue
        if os.path.islink(path):  # what is behind it is not this command's
            raise DataError(
                f'{path} is a symbolic link: put what it leads to in its place, or remove it'
            )
        if name in known:
            _clean_set(path, known[name])
        elif SET_NAME.fullmatch(name) and _is_left(path):
            shutil.rmtree(path)
        else:
            raise DataError(
                f'{manifest.directory} has {name} in it, which is not of a backup: give a '
                'directory of its own'
            )


def _clean_set(path: str, known: Set) -> None:
    names = {part.file for part in known.parts}
    for name in os.listdir(path):
        if name not in names and name != backupblobs.DIRECTORY:
            os.unlink(os.path.join(path, name))


def _is_left(path: str) -> bool:
    """Return whether a directory can only be a set that was begun, or forgotten."""
    return os.path.isdir(path) and all(
        name in (backupblobs.DIRECTORY, backupblobs.BESIDE) or name.startswith('part-')
        for name in os.listdir(path)
    )


def forget(manifest: Manifest, keep: int) -> list[str]:
    """Remove the oldest sets; return their names.

    :param keep: how many of those that are whole stay.
    """
    whole = [one for one in manifest.sets if one.whole]
    gone = whole[:-keep]
    if gone:
        oldest = manifest.sets.index(whole[-keep])
        gone = manifest.sets[:oldest]
        manifest.sets = manifest.sets[oldest:]
        manifest.save()
        for one in gone:
            shutil.rmtree(manifest.path(one.name))
    return [one.name for one in gone]
