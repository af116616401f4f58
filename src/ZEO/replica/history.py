"""Whether a primary has the history that a replica has: nothing else may be followed.

Enters: a replica, and the primary that it has reached. Leaves: nothing, where what both have is the
same, and the replica has nothing more. Fails: :class:`NotFollowed`, which names the transaction
that differs, or those that the primary lacks.

The last transactions that both have are compared with all their records. One that is missing on one
side counts as packed there only with proof: a pack marks what it leaves, and each object of that
transaction has a later revision there, or is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any

from ZODB.POSException import POSKeyError
from ZODB.utils import z64

from ZEO.replica import lost
from ZEO.replica.errors import NotFollowed
from ZEO.replica.ours import Ours, Place
from ZEO.replica.primary import Primary

#: How many of the last transactions that both have are compared, and after how many bytes of their
#: records no further one is.
_COMPARED = 10
_COMPARED_BYTES = 8 << 20

#: How many of the last transactions are looked for at the primary at first; the number is doubled
#: as long as it has none of them.
_FIRST_LOOK = 16

#: Records of a packed transaction that are compared.
_RECORDS = 100_000

Header = tuple[bytes, str]  # tid and status


def check(storage: Any, primary: Primary, discard_lost: bool) -> None:
    """Return when the primary can be followed.

    :param discard_lost: cut off what the primary lacks, after it has been saved.
    :raises NotFollowed: when it cannot.
    """
    ours = Ours(storage)
    try:
        missing = _History(storage, ours, primary).missing()
        if missing:
            lost.give_up(storage, ours, missing, primary, discard_lost)
    finally:
        ours.close()


class _History:
    def __init__(self, storage: Any, ours: Ours, primary: Primary) -> None:
        self._storage = storage
        self._ours = ours
        self._primary = primary

    def missing(self) -> list[Place]:
        """Return the transactions that only this side has, the last one first.

        :raises NotFollowed: when the histories differ in another way.
        """
        places = self._ours.backward()
        last = next(places, None)
        if last is None:
            return []
        mine, theirs = self._look_back(last, places)
        known = dict(theirs)
        common = [place for place in mine if place.tid in known]
        if not common:
            raise NotFollowed(
                f'{self._primary.where} has none of the transactions of this replica: it serves '
                'another database. Check its address and the name of the storage; to copy that '
                'database, give the replica another path'
            )
        self._compare(common, known)
        newest = common[0]
        self._explain(mine, theirs, common)
        missing = [place for place in mine if place.tid > newest.tid]
        extra = [tid for tid, _ in theirs if newest.tid < tid <= last.tid]
        if missing and not extra and all(self._is_packed_there(one, theirs) for one in missing):
            return []
        return missing

    def _look_back(self, last: Place, places: Iterator[Place]) -> tuple[list[Place], list[Header]]:
        """Return our last transactions, and those that the primary has in the same time; enough for
        some that both have, if there are any.
        """
        mine, count = [last], _FIRST_LOOK
        while True:
            more = list(islice(places, count))
            mine += more
            theirs = list(self._primary.headers(mine[-1].tid, last.tid))
            known = {tid for tid, _ in theirs}
            if not more or any(place.tid in known for place in mine):
                return mine, theirs
            count *= 2

    # What both have.

    def _compare(self, common: list[Place], known: dict[bytes, str]) -> None:
        compared = 0
        for place in common[:_COMPARED]:
            compared += self._compare_one(place, known[place.tid])
            if compared > _COMPARED_BYTES:
                return

    def _compare_one(self, place: Place, status: str) -> int:
        """Compare one transaction; return the bytes of its records."""
        mine = self._ours.transaction(place)
        theirs = next(self._primary.transactions(place.tid, place.tid), None)
        packed = 'p' in (place.status, status)
        size = place.end - place.begin
        if theirs is None or _described(mine) != _described(theirs):
            raise self._differs(place, 'its user, description or extension')
        if packed:
            same = _agree(mine, theirs)
        else:
            same = _digest(mine) == _digest(theirs)
        if not same:
            raise self._differs(place, 'its records')
        return size

    def _differs(self, place: Place, what: str) -> NotFollowed:
        return NotFollowed(
            f'{self._primary.where} has another history than this replica: transaction '
            f'{place.tid.hex()} differs, in {what}. Check the address and the name of the storage; '
            'if the primary was restored or replaced on purpose, copy it anew: give the replica '
            'another path, or move its files away'
        )

    # What only one side has.

    def _explain(self, mine: list[Place], theirs: list[Header], common: list[Place]) -> None:
        """Make sure that what is missing between transactions that both have was packed."""
        oldest = common[min(len(common), _COMPARED) - 1].tid
        newest = common[0].tid
        headers = [(place.tid, place.status) for place in reversed(mine)]
        both = {place.tid for place in common}
        for place in mine:
            if oldest < place.tid < newest and place.tid not in both:
                if not self._is_packed_there(place, theirs):
                    raise self._gap(place.tid, self._primary.where, 'this replica')
        for tid, _ in theirs:
            if oldest < tid < newest and tid not in both:
                if not _pack_reached(tid, headers) or not self._is_packed_here(tid):
                    raise self._gap(tid, 'this replica', self._primary.where)

    def _gap(self, tid: bytes, lacks: str, has: str) -> NotFollowed:
        return NotFollowed(
            f'{lacks} lacks transaction {tid.hex()}, which {has} has, and no pack explains that: '
            'they have different histories. Check the address and the name of the storage'
        )

    def _is_packed_there(self, place: Place, theirs: list[Header]) -> bool:
        if not _pack_reached(place.tid, theirs):
            return False
        oids = (record.oid for record in self._ours.transaction(place))
        return all(self._is_later(self._their_tid(oid), place.tid) for oid in oids)

    def _is_packed_here(self, tid: bytes) -> bool:
        transaction = next(self._primary.transactions(tid, tid), None)
        return transaction is None or all(
            self._is_later(self._our_tid(record.oid), tid) for record in transaction
        )

    def _is_later(self, current: bytes | None, tid: bytes) -> bool:
        return current is None or current > tid

    def _their_tid(self, oid: bytes) -> bytes | None:
        try:
            return self._primary.call('getTid', oid)
        except POSKeyError:
            return None

    def _our_tid(self, oid: bytes) -> bytes | None:
        try:
            return self._storage.getTid(oid)
        except POSKeyError:
            return None


def _pack_reached(tid: bytes, headers: list[Header]) -> bool:
    """Return whether a pack on that side may have removed a transaction: what it has left beside
    that, before or after, is marked as packed.
    """
    after = next((status for other, status in headers if other > tid), None)
    before = next((status for other, status in reversed(headers) if other < tid), None)
    return 'p' in (before, after)


def _described(transaction: Any) -> tuple[Any, ...]:
    return transaction.user, transaction.description, transaction.extension_bytes


def _records(transaction: Iterable[Any]) -> Iterator[tuple[bytes, bytes]]:
    """Yield oid and digest of each record."""
    for record in transaction:
        data = z64 if record.data is None else b'data' + record.data
        yield record.oid, blake2b(data, digest_size=16).digest()


def _digest(transaction: Iterable[Any]) -> bytes:
    found = blake2b()
    for oid, digest in _records(transaction):
        found.update(oid + digest)
    return found.digest()


def _agree(mine: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Return whether the records that both have of a packed transaction are the same."""
    known: dict[bytes, set[bytes]] = {}
    for oid, digest in islice(_records(mine), _RECORDS):
        known.setdefault(oid, set()).add(digest)
    return all(digest in known[oid] for oid, digest in _records(theirs) if oid in known)
