"""Whether two histories are the same, transaction by transaction.

Enters: transactions of two sources. Leaves: whether they agree, or the first one that does not.
Fails: :class:`~ZEO.data.outcome.Different`, which names that transaction.

A storage that was packed has fewer records than the one that it is compared with, or lacks a
transaction: that is not a difference as long as what both have is equal. One that keeps no history
has to have the last record of every object.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from persistent.TimeStamp import TimeStamp
from ZODB.fsIndex import fsIndex
from ZODB.utils import p64, u64

from ZEO.data.outcome import Different
from ZEO.data.sources import Source
from ZEO.serving.moments import iso

#: Bytes of a digest that are kept for each record: a chance in 2**64 is enough for copies.
_DIGEST = 16


class Fingerprint(NamedTuple):
    """What one transaction consists of."""

    tid: bytes
    texts: tuple[bytes, bytes, bytes]  # user, description, extension
    records: dict[bytes, bytes]  # oid -> a digest of the record


_NO_TEXTS = (b'', b'', b'')


def fingerprint(
    transaction: Any,
    seen: Callable[[Any], None] = lambda record: None,
    lasting: Lasting | None = None,
) -> Fingerprint:
    """Return the fingerprint of a transaction, whose records are read.

    :param seen: is called with each record that is in it.
    :param lasting: which records are in it, without texts; all by default.
    """
    texts = transaction.user, transaction.description, transaction.extension_bytes
    records = {}
    for record in transaction:
        if lasting is None or lasting.has(record):
            seen(record)
            records[record.oid] = digest(record.data)
    return Fingerprint(transaction.tid, _NO_TEXTS if lasting else texts, records)


class Lasting:
    """What a storage without history keeps: the last record of each object.

    :param stop: the last transaction that counts.
    """

    def __init__(self, source: Source, stop: bytes) -> None:
        self._last = fsIndex()  # oid -> the number of its last transaction
        self._tids = array('Q')  # number of a transaction -> its tid
        for transaction in source.transactions(None, stop):
            for record in transaction:
                self._last[record.oid] = len(self._tids)
            self._tids.append(u64(transaction.tid))

    def has(self, record: Any) -> bool:
        """Return whether it keeps a record: those that delete an object go with it."""
        number = self._last.get(record.oid)
        is_last = number is not None and self._tids[number] == u64(record.tid)
        return is_last and record.data is not None


def lasting(source: Source, destination: Source, stop: bytes) -> Lasting | None:
    """Return which records a destination has kept; None if it keeps all."""
    return None if destination.keeps_history() else Lasting(source, stop)


def digest(data: bytes | None) -> bytes:
    """Return the digest of a record; empty for one that deletes an object."""
    return b'' if data is None else sha256(data).digest()[:_DIGEST]


def named(tid: bytes) -> str:
    """Return how a transaction is called in errors: its tid, and its time."""
    try:
        return f'transaction {tid.hex()} ({iso(TimeStamp(tid).timeTime())})'
    except ValueError:  # not a time
        return f'transaction {tid.hex()}'


def difference(one: Fingerprint, other: Fingerprint) -> str | None:
    """Return what is different in two transactions of the same tid; None if one of them may be what
    a pack has left of the other.
    """
    for name, text, instead in zip(
        ('user', 'description', 'extension'), one.texts, other.texts, strict=True
    ):
        if text != instead:
            return f'its {name} differs'
    few, many = sorted((one.records, other.records), key=len)
    for oid, value in few.items():
        if oid not in many:
            return f'object {oid.hex()} is in one of them only'
        if many[oid] != value:
            return f'the record of object {oid.hex()} differs'
    return None


def only(source: Source, tid: bytes) -> Fingerprint | None:
    """Return the fingerprint of one transaction; None if the source does not have it."""
    for transaction in source.transactions(tid, tid):
        return fingerprint(transaction)
    return None


class Comparison:
    """Compares two histories.

    :param one: what the other should be a copy of.
    :param strict: whether a transaction that only `other` has is a difference; else `one` may have
        been packed since. A pack takes no last revision of an object that it leaves.
    :param seen: is called with each record of the first.
    :param kept: what of the first the other has kept; all by default.
    """

    def __init__(
        self,
        one: Source,
        other: Source,
        strict: bool,
        seen: Callable[[Any], None] = lambda record: None,
        kept: Lasting | None = None,
    ) -> None:
        self._one, self._other, self._strict, self._seen = one, other, strict, seen
        self._kept = kept
        self.same = 0  # transactions that are equal
        self.gone = 0  # transactions that only the second has
        # oid -> the number of the second's last revision, where the first does not have that; in
        # compact form, since a pack may have removed millions of objects
        self._unknown = fsIndex()
        self._tids = array('Q')  # number -> tid

    def first_difference(self, stop: bytes) -> tuple[bytes, str] | None:
        """Return the tid of the first transaction that differs, and what is different.

        :param stop: the last transaction that is compared.
        """
        left, right = self._one.transactions(None, stop), self._other.transactions(None, stop)
        a, b = next(left, None), next(right, None)
        while a is not None or b is not None:
            if b is not None and (a is None or b.tid < a.tid):
                if self._strict:
                    return b.tid, f'{self._one.name} does not have it'
                self.gone += 1
                self._note_unknown(b.tid, (record.oid for record in b))
                b = next(right, None)
                continue
            assert a is not None
            what = self._difference(a, b if b is not None and a.tid == b.tid else None)
            if what is not None:
                return a.tid, what
            b = next(right, None) if b is not None and a.tid == b.tid else b
            a = next(left, None)
        return self._other_last_revision(stop)

    def _other_last_revision(self, stop: bytes) -> tuple[bytes, str] | None:
        """Return the tid of a last revision that only the second has, though the first has the
        object.
        """
        unknown = self._unknown
        if next(iter(unknown), None) is None:
            return None
        for transaction in self._one.transactions(None, stop):
            for record in transaction:
                if record.oid in unknown:
                    return (
                        p64(self._tids[unknown[record.oid]]),
                        f'{self._one.name} does not have that revision of object '
                        f'{record.oid.hex()}, and it is the last one in {self._other.name}',
                    )
        return None

    def _note_unknown(self, tid: bytes, oids: Iterable[bytes]) -> None:
        """Note what only the second has of a transaction."""
        number = len(self._tids)
        for oid in oids:
            self._unknown[oid] = number
        self._tids.append(u64(tid))

    def _note_records(self, found: Fingerprint, wanted: Fingerprint) -> None:
        """Note what only the second has of a transaction that both have."""
        unknown = self._unknown
        if self._tids:
            for oid in found.records:
                if oid in unknown:
                    del unknown[oid]
        only = wanted.records.keys() - found.records
        if only:
            self._note_unknown(wanted.tid, only)

    def _difference(self, a: Any, b: Any) -> str | None:
        """Return what is different in a transaction.

        :param b: what the other has; None for nothing.
        """
        found = fingerprint(a, self._seen, self._kept)
        if b is None:
            is_kept = self._kept is None or found.records
            return f'{self._other.name} does not have it' if is_kept else None
        wanted = fingerprint(b)
        if self._kept is not None:
            wanted = wanted._replace(texts=_NO_TEXTS)
        what = difference(found, wanted)
        lost = found.records.keys() - wanted.records
        if what is None and lost:
            what = f'{self._other.name} does not have object {min(lost).hex()} in it'
        self._note_records(found, wanted)
        self.same += 1
        return what


def check_same(source: Source, destination: Source, last: bytes) -> None:
    """Make sure that what a destination has is the beginning of a source's history.

    Its first and its last transaction are compared; where they differ, all, to name the first that
    does.

    :param last: the last transaction of the destination.
    :raises Different: when it has something else.
    """
    if _same_ends(source, destination, last):
        return
    kept = lasting(source, destination, last)
    strict = source.keeps_history() and kept is None
    found = Comparison(source, destination, strict, kept=kept).first_difference(last)
    if found is None and not strict:  # objects of the last transaction have changed since
        return
    tid, what = found or (last, f'{source.name} does not have it')
    raise Different(
        f'{destination.name} does not hold the beginning of {source.name}: they differ in '
        f'{named(tid)}: {what}; give a destination that is empty, or an earlier copy'
    )


def _same_ends(source: Source, destination: Source, last: bytes) -> bool:
    if not _agree(source, destination, last, may_be_gone=False):
        return False
    first = next(iter(destination.transactions(None, last)), None)
    return first is None or _agree(source, destination, first.tid, may_be_gone=True)


def _agree(source: Source, destination: Source, tid: bytes, may_be_gone: bool) -> bool:
    """Return whether both have the same transaction.

    :param may_be_gone: whether the source may lack it, since it was packed.
    """
    found, wanted = only(source, tid), only(destination, tid)
    if found is None:
        return may_be_gone
    if wanted is not None and not destination.keeps_history():
        wanted = wanted._replace(texts=found.texts)
    return wanted is not None and difference(found, wanted) is None


def walk(source: Source, start: bytes | None, stop: bytes) -> Iterator[Any]:
    """Yield transactions, and make sure that their tids go up.

    :raises Different: when one does not.
    """
    last = b'' if start is None else p64(max(u64(start) - 1, 0))
    for transaction in source.transactions(start, stop):
        if transaction.tid <= last:
            raise Different(
                f'{source.name}: {named(transaction.tid)} comes after {named(last)}, which is not '
                'earlier: zeo verify says more'
            )
        last = transaction.tid
        yield transaction
