"""What one client is likely to want next.

Enters: the objects that it wants, with their records; what it was sent. Leaves: oids with the
groups that they belong to, the likeliest first. Fails: never; a record that cannot be read leads to
nothing.

An object is likely where a record that the client has refers to it; where clients have wanted it
after what this one wants now; and where it is beside one that the client has asked for, in the
record that refers to both.
"""

from __future__ import annotations

from collections import deque

from ZEO.serving.read_ahead.candidates import Candidates, Group
from ZEO.serving.read_ahead.kinds import Kind
from ZEO.serving.read_ahead.sent import Sent
from ZEO.serving.read_ahead.shared import SharedAhead
from ZEO.serving.read_ahead.source import Source
from ZEO.wire.likely_references import likely_references

Named = tuple[bytes, Group]

#: Objects that a client wants, after which it is not likely to want what follows one that it has
#: wanted before; and what follows one that it was sent before and has not used.
LIFE, _DEEP_LIFE = 12, 8

#: Likely objects that cannot be sent now, after which no others are looked at (1 us for each).
_LOOKS = 32

#: Objects that were asked for, among which a second one of one referrer makes the others likely.
_RECENT = 6

#: Objects in a row that were wanted in the order of an earlier time, after which the client is
#: taken to go on like that; and the objects on that way that are looked up at a time.
_FAMILIAR, _WAY = 2, 64


class Guesses:
    """Those about one client.

    :param sent: what it has.
    """

    def __init__(self, shared: SharedAhead, source: Source, sent: Sent) -> None:
        self._learnt, self._referrers = shared.learnt, shared.referrers
        self._kinds = shared.kinds
        # of what was not found by a record's own references
        self._beside, self._way = Kind(), Kind()
        self._source = source
        self._sent = sent
        # what follows what the client has, the likeliest first; and what follows what it was sent
        self._candidates = Candidates(LIFE)
        self._deeper = Candidates(_DEEP_LIFE)
        self.step = 0  # how many objects the client has wanted
        self._last: bytes | None = None  # the one that it wanted last
        self._asked_of: deque[bytes] = deque(maxlen=_RECENT)  # what refers to what it asked for
        self._familiar = 0  # of those before, how many were wanted in an order that is known

    # What the client wants.

    def wanted(self, oid: bytes) -> None:
        """The client wants an object."""
        if self._last is not None and self._last != oid:
            is_known = self._learnt.learn(self._last, oid)
            self._familiar = min(self._familiar + 1, 2 * _FAMILIAR) if is_known else 0
        self._last = oid
        self.step += 1

    def asked(self, oid: bytes) -> None:
        """It has asked for an object: those beside it are likely."""
        referrer = self._referrers.of(oid)
        if referrer is None:
            return
        is_evident = referrer in self._asked_of
        self._asked_of.append(referrer)
        found = self._source.at_hand(referrer) if is_evident else None
        if found is None:
            return
        beside = likely_references(found[0])
        if oid in beside:
            after = self._sent.others(beside[beside.index(oid) + 1 :])
            self._candidates.put(self.step, after, self._beside)

    def has(self, oid: bytes, data: bytes) -> None:
        """It has this record."""
        self._candidates.put(self.step, self._next(oid, data), self._kinds.of(data))

    def goes_on(self) -> None:
        """Take the way of an earlier time for likely, if the client seems to go it."""
        if self._familiar >= _FAMILIAR and self._last is not None:
            way = self._sent.others(self._learnt.way(self._last, _WAY))
            self._candidates.put(self.step, way, self._way)

    def was_sent(self, oid: bytes, data: bytes) -> None:
        """It is sent this record without having asked for it."""
        self._deeper.put(self.step, self._next(oid, data), self._kinds.of(data))

    def counts(self, group: Group) -> None:
        """One of a group was used: the others are likely as well."""
        group.used += 1
        group.kind.used()
        self._deeper.used(self.step, group)
        self._candidates.used(self.step, group)

    def looks_behind(self, oid: bytes, group: Group) -> None:
        """It was this one: likely is also what those lead to that come next, which may have been
        sent long ago.
        """
        for one in group.behind(oid):
            found = self._source.at_hand(one)
            if found is not None:
                self.was_sent(one, found[0])

    def _next(self, oid: bytes, data: bytes) -> list[bytes]:
        """Return what follows an object, and was not sent."""
        references = likely_references(data)
        if references:
            self._referrers.learn(oid, references)
        return self._sent.others((*self._learnt.after(oid), *references))

    # What it will want.

    def take(self, most: int, share: int) -> list[Named]:
        """Return the likeliest, which are noted as sent.

        :param share: how many of a group may be sent before any of it was used.
        """
        return self._take(self._candidates, most, share)

    def take_deeper(self, most: int, share: int) -> list[Named]:
        """The same of what follows records that the client was sent and has not used."""
        return self._take(self._deeper, most, share)

    def _take(self, candidates: Candidates, most: int, share: int) -> list[Named]:
        sent, step = self._sent, self.step
        may_come = self._source.may_come if self._source.is_choosy else None
        chosen: list[Named] = []
        skipped: list[Named] = []
        while len(chosen) < most and len(skipped) < _LOOKS:
            found = candidates.take(step, share)
            if found is None:
                break
            oid = found[0]
            if may_come is not None and oid not in sent and not may_come(oid):
                skipped.append(found)
            elif not sent.add(oid):
                chosen.append(found)
            else:  # it has been asked for
                found[1].drop(oid)
        candidates.give_back(skipped)
        return chosen
