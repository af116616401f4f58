"""How much a client may be sent that it has not asked for, by what it has used of that so far.

Enters: records that are sent, loads, and which of the records were used. Leaves: how many more may
be sent now. Fails: never, whatever a client says: it can only say it of records that it was sent.
"""

from __future__ import annotations

from typing import NamedTuple

from ZEO.serving.read_ahead.candidates import Group
from ZEO.serving.read_ahead.figures import Figures

#: Records under way at the beginning, and at least and at most.
_FIRST, _LEAST, _MOST = 64, 4, 512

#: Of what one object leads to, the records that may be sent before one of them was used: at least
#: the first number, and the second share of the records under way.
_LEAST_SHARE, _SHARE_OF_ONE = 8, 4

#: Records for which there is room behind each load, whatever is under way.
ROOM = 16

#: Records that may be sent because of others that were not used yet: at the beginning; one more for
#: this many loads, and for each that is used this many; at most a share of the records under way.
_DEEP, _LOADS_FOR_ONE, _FOR_USED, _DEEP_SHARE = 16, 2, 2, 4

#: Bytes under way at most: this many and a share of those that were of use lately, but never more
#: than the third; the fourth more behind a load.
_FIRST_BYTES, _BYTES_SHARE, _MOST_BYTES, _ROOM_BYTES = 32 * 1024, 0.5, 1024 * 1024, 16 * 1024

#: Objects that the client wants, after which a record that it has not used is not under way any
#: more: it leaves its place to likelier ones, such as those that follow what was wanted since.
_RECENT = 24

#: Loads after which a record that was not used by then counts as wasted.
_PATIENCE = 48

#: Records whose use is known, by which the share is judged the first time, and after which older
#: ones count for half. The first page of an application may use only a sixth of the first hundred;
#: others are wasted or for later pages, and nine tenths of all that follow.
_ENOUGH, _MEMORY = 192, 512

#: The same number for a client that uses next to nothing, and what that is: a share.
_FEW, _NEXT_TO_NOTHING = 64, 1 / 16

#: The share of used records below which nothing more is sent, and above which more is.
_BAD, _GOOD = 0.25, 0.75

#: Loads until it is tried again; after each failure twice as many, up to the second number.
_PAUSE, _LONGEST_PAUSE = 250, 64_000

#: Loads in a row without a used record, after which nothing is looked for during the first pause:
#: nothing follows from what such a client loads, and the look takes a tenth of a load's time.
_DRY = 200

#: Bytes of records that are not used, those under way among them: this many, and a share of those
#: that were of use. So a client is never sent more that it does not use, even if nothing of what is
#: under way is used; with more it would be sent nothing for hundreds of loads.
_FREE_BYTES, _SHARE = 64 * 1024, 0.3

#: Useful bytes after which older ones count for half, so that a good past does not pay for ever.
_BYTE_MEMORY = 8 * 1024 * 1024


class _Unused(NamedTuple):
    """A record that was sent and not used yet.

    :param steps: how many objects the client had wanted when it was sent.
    :param loads: how many it had asked for.
    :param group: what it was sent with.
    """

    steps: int
    loads: int
    size: int
    group: Group | None


class Window:
    """That of one client."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self.size = _FIRST
        self._recent: dict[bytes, _Unused] = {}  # under way
        self._old: dict[bytes, _Unused] = {}
        self._late: dict[bytes, _Unused] = {}  # counted as not used
        self._recent_bytes = self._old_bytes = 0
        self._steps = 0  # objects that the client has wanted
        self._loads = 0  # objects that it has asked for
        self._used = self._wasted = 0  # records, lately
        self._dry = 0  # loads since a record was used
        self._useful = 0.0  # bytes of answers and used records
        self._wasted_bytes = 0.0  # bytes of records that were not used in time
        self._pause = _PAUSE
        self._deep = float(_DEEP)  # how many more may be sent because of others that were not used
        self.closed = 0  # loads until anything is sent again

    @property
    def share(self) -> int:
        """How many of what one object leads to may be sent before any of it was used."""
        return max(_LEAST_SHARE, self.size // _SHARE_OF_ONE)

    def room(self, left: int) -> int:
        """Return how many more records may be sent now.

        :param left: of the room behind the last load.
        """
        if self._affordable() <= 0:
            return 0
        if self._recent_bytes > self._most_bytes():
            return left
        return max(left, self.size - len(self._recent))

    def bytes_left(self, behind_load: bool) -> float:
        """Return how many bytes more may be sent now; behind a load always a few."""
        left = self._most_bytes() - self._recent_bytes
        return min(max(left, _ROOM_BYTES) if behind_load else left, self._affordable())

    def _affordable(self) -> float:
        """Return how many bytes more may turn out to be wasted."""
        at_stake = self._wasted_bytes + self._old_bytes + self._recent_bytes
        return _FREE_BYTES + _SHARE * self._useful - at_stake

    def _most_bytes(self) -> float:
        return min(_MOST_BYTES, _FIRST_BYTES + _BYTES_SHARE * self._useful)

    @property
    def deep(self) -> int:
        """How many more may be sent because of others that were not used yet."""
        return int(self._deep)

    def take_deep(self, count: int) -> None:
        """This many were."""
        self._deep -= count

    # What happens.

    def loaded(self, size: int) -> None:
        """The client has asked for a record of that many bytes."""
        self._loads += 1
        self._dry += 1
        self._gain(1 / _LOADS_FOR_ONE)
        self._step(size)
        self._give_up()
        known = self._used + self._wasted
        if known >= _ENOUGH or (known >= _FEW and self._used < _NEXT_TO_NOTHING * known):
            self._judge()
        elif self._dry > _DRY:
            self._dry, self.closed = 0, _PAUSE

    def sent(self, oid: bytes, size: int, group: Group | None) -> None:
        """The client is sent a record that it has not asked for."""
        before = self._take(oid)
        if before is not None:  # it was lost
            self._waste(before.size)
        self._late.pop(oid, None)
        self._recent[oid] = _Unused(self._steps, self._loads, size, group)
        self._recent_bytes += size
        self._figures.sent += 1
        self._figures.bytes += size

    def used(self, oid: bytes) -> Group | None:
        """The client has used a record; return what it was sent with, or None where it was not sent
        it, or has said so before.
        """
        if oid in self._recent:
            self._note_known(self._recent[oid])
        found = self._take(oid) or self._take_late(oid)
        if found is None:
            return None
        self._step(found.size)
        self._used += 1
        self._dry = 0
        self._gain(_FOR_USED)
        self._figures.used += 1
        return found.group

    def asked(self, oid: bytes) -> Group | None:
        """The client has asked for a record although it was sent it; return the same."""
        found = self._take(oid)
        if found is None:
            return None
        self._waste(found.size)
        return found.group

    def grow(self) -> None:
        """Judge by what was used lately, after a report."""
        known = self._used + self._wasted
        if known >= self.size / 2 and self._used >= _GOOD * known:
            self.size = min(_MOST, 2 * self.size)
            self._pause = _PAUSE

    @staticmethod
    def _note_known(unused: _Unused) -> None:
        """The client has used it, or has gone on without it."""
        if unused.group is not None:
            unused.group.kind.known()

    def _take(self, oid: bytes) -> _Unused | None:
        """Return a record that was not used yet, which is forgotten."""
        found = self._recent.pop(oid, None)
        if found is not None:
            self._recent_bytes -= found.size
            return found
        found = self._old.pop(oid, None)
        if found is not None:
            self._old_bytes -= found.size
        return found

    def _take_late(self, oid: bytes) -> _Unused | None:
        """The same for one that was counted as not used, and was used later."""
        found = self._late.pop(oid, None)
        if found is not None:
            self._wasted_bytes = max(0.0, self._wasted_bytes - found.size)
            self._wasted = max(0, self._wasted - 1)
            self._figures.wasted -= 1
        return found

    def _step(self, size: int) -> None:
        """The client has wanted a record of that many bytes."""
        self._steps += 1
        self._useful += size
        if self._useful > _BYTE_MEMORY:
            self._useful /= 2
            self._wasted_bytes /= 2
        recent, limit = self._recent, self._steps - _RECENT
        while recent:
            oid = next(iter(recent))
            if recent[oid].steps >= limit:
                break
            unused = self._old[oid] = recent.pop(oid)
            self._note_known(unused)
            self._recent_bytes -= unused.size
            self._old_bytes += unused.size

    def _give_up(self) -> None:
        """Count what was not used in time as wasted."""
        old, limit = self._old, self._loads - _PATIENCE
        while old:
            oid = next(iter(old))
            if old[oid].loads >= limit and len(old) <= _MOST:
                break
            unused = self._late[oid] = old.pop(oid)
            self._old_bytes -= unused.size
            self._waste(unused.size)
        while len(self._late) > _MOST:
            del self._late[next(iter(self._late))]

    def _waste(self, size: int) -> None:
        self._wasted_bytes += size
        self._wasted += 1
        self._figures.wasted += 1

    def _gain(self, more: float) -> None:
        self._deep = min(self._deep + more, max(_DEEP, self.size / _DEEP_SHARE))

    def _judge(self) -> None:
        known = self._used + self._wasted
        if self._used < _BAD * known:
            self._close()
        elif self._used < known / 2:
            self.size = max(_LEAST, self.size // 2)
        elif known < _MEMORY:
            return
        self._used //= 2
        self._wasted //= 2

    def _close(self) -> None:
        """Send nothing for a while."""
        self.closed = self._pause
        self._useful += self._pause * self._useful / self._steps  # the loads that are not counted
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause)
        self.size = _LEAST
        self._used = self._wasted = 0
        self._figures.stopped += 1
