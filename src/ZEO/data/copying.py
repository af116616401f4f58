"""Copying a database, from where an earlier copy ended.

Enters: a source and a destination. Leaves: the source's transactions in the destination, up to the
one that was the last when the copy began. Fails: :class:`~ZEO.data.outcome.Different` when the
destination has something else; :class:`~ZEO.data.outcome.CutShort` when one of both goes away; the
same copy goes on then, since every transaction is copied as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from transaction.interfaces import TransientError
from ZODB.utils import p64, u64, z64

from ZEO.config.opening import one_line
from ZEO.data.destinations import Destination
from ZEO.data.digests import file_digest
from ZEO.data.history import Comparison, check_same, lasting, named, walk
from ZEO.data.outcome import CutShort, DataError, Different
from ZEO.data.sources import Record, Source
from ZEO.Exceptions import ConfigurationError
from ZEO.progress import Progress
from ZEO.wire.guarded import is_blob


@dataclass
class Copied:
    """What a copy has done."""

    before: bytes  # the last transaction that the destination had; zeros for none
    last: bytes  # the one that it has now


def copy(
    source: Source,
    destination: Destination,
    progress: Progress,
    stop: bytes | None = None,
    blobs: bool = True,
) -> Copied:
    """Copy what the destination does not have yet.

    :param stop: the last transaction to copy; the source's last one by default.
    :param blobs: whether to copy blobs.
    :raises Different: when the destination holds something else.
    :raises CutShort: when the source or the destination goes away.
    """
    with cut_short(lambda: destination.reached):
        before = destination.reached = destination.last_tid()
        end = source.last_tid()
        end = end if stop is None else min(end, stop)
        _check(source, destination, before, end)
        if before == z64 and destination.length():
            raise Different(
                f'{destination.name} has objects and does not say of which transactions: give an '
                'empty destination'
            )
        seen = Seen(progress)
        try:
            for transaction in walk(source, after(before), end):
                destination.write(transaction, source, seen, blobs)
                progress.transaction()
        finally:
            destination.settle()
    return Copied(before, destination.reached)


def _check(source: Source, destination: Destination, before: bytes, end: bytes) -> None:
    if before == z64:
        return
    if before > end:
        raise Different(
            f'{destination.name} ends with {named(before)}, which is later than the end of '
            f'{source.name}, {named(end)}: give an empty destination, or an earlier copy'
        )
    check_same(source, destination, before)


class Seen:
    """Counts what is written."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, record: Record, blob: int) -> None:
        self._progress.record(record.data)
        if blob:
            self._progress.blob(blob)


def after(tid: bytes) -> bytes | None:
    """Return the lowest tid after another one; None, which means the beginning, after zeros."""
    return None if tid == z64 else p64(u64(tid) + 1)


@contextmanager
def cut_short(last: Callable[[], bytes]) -> Iterator[None]:
    """Say how far the work has come when a storage fails in it.

    :param last: returns the last transaction that is done.
    :raises CutShort: instead of what storages raise.
    """
    try:
        yield
    except (DataError, ConfigurationError):
        raise
    except Exception as error:  # storages of any kind raise it, and it ends the work
        again = (
            'the same command goes on from there'
            if isinstance(error, (TransientError, OSError))
            else 'when that is mended, the same command goes on from there'
        )
        done = 'nothing was done yet' if last() == z64 else f'done up to {named(last())}'
        raise CutShort(f'{one_line(error)}; {done}: {again}') from error


def verify(
    source: Source, destination: Source, last: bytes, progress: Progress, blobs: bool = True
) -> Comparison:
    """Compare the whole of a copy with its source; return what was compared.

    :param last: the last transaction that was copied.
    :param blobs: whether to compare the files of blobs as well.
    :raises Different: with the first transaction that differs.
    """

    def seen(record: Record) -> None:
        progress.record(record.data)
        if blobs and is_blob(record.data):
            progress.blob(_same_blob(source, destination, record))
        progress.show()

    with cut_short(lambda: z64):
        kept = lasting(source, destination, last)
        compared = Comparison(source, destination, False, seen, kept)
        found = compared.first_difference(last)
    if found is not None:
        tid, what = found
        raise Different(
            f'{destination.name} is not a copy of {source.name}: {named(tid)}: {what}; copy into '
            'an empty destination'
        )
    return compared


def _same_blob(source: Source, destination: Source, record: Record) -> int:
    """Compare the files of a blob; return their size.

    :raises Different: when they differ, or the copy is missing.
    """
    size, one = _digest(source, record)
    _, other = _digest(destination, record)
    if one != other:
        raise Different(
            f'{destination.name} is not a copy of {source.name}: the file of blob '
            f'{record.oid.hex()} of {named(record.tid)} '
            f'{"differs" if other else "is missing"}; copy into an empty destination'
        )
    return size


def _digest(source: Source, record: Record) -> tuple[int, str]:
    """Return size and digest of a blob's file; of a missing one an empty digest."""
    path = source.blob(record.oid, record.tid)
    if path is None:
        return 0, ''
    found = file_digest(path)
    source.release(path)
    return found
