"""What a client may want next, for when there is room to send it.

Enters: oids, those that one object leads to at a time; which of them were used. Leaves: oids, the
likeliest first. Fails: never; what is too much is forgotten, and is found again where it is needed.
"""

from __future__ import annotations

from collections import deque

from ZEO.serving.read_ahead.kinds import Kind

#: Groups that are kept, and objects in one of them: more than a client is sent in one go.
_MOST_GROUPS, _MOST = 64, 500

#: Objects of a group that may be sent for each that was used.
_FOR_USED = 2

#: Objects behind one that was used, which are likely to be used next.
_BEHIND = 2


class Group:
    """What one object leads to.

    :param step: how many objects the client had wanted by then, or when the last of it was used.
    :param kind: that of the object.
    """

    __slots__ = ('_looked', '_taken', 'given', 'kind', 'oids', 'step', 'used')

    def __init__(self, step: int, oids: list[bytes], kind: Kind) -> None:
        self.step = step
        self.kind = kind
        self.oids = deque(oids[:_MOST])
        self.given = 0  # how many of them were sent
        self.used = 0  # and of those, used
        self._taken: deque[bytes] = deque()  # those that were given, behind the last that was used
        self._looked = 0  # how many of these were looked at

    def take(self) -> bytes:
        """Return the next one, which is given."""
        self.given += 1
        oid = self.oids.popleft()
        self._taken.append(oid)
        return oid

    def give_back(self, oid: bytes) -> None:
        """It was not sent now."""
        self.drop(oid)
        self.oids.appendleft(oid)

    def drop(self, oid: bytes) -> None:
        """It was sent before."""
        self.given -= 1
        if self._taken and self._taken[-1] == oid:
            self._taken.pop()

    def behind(self, oid: bytes) -> list[bytes]:
        """One was used: return those that were given behind it, as far as they are likely to be
        used next, and were not returned before.
        """
        taken = self._taken
        if oid not in taken:
            return []
        while taken.popleft() != oid:
            self._looked -= 1
        looked = self._looked = max(0, self._looked - 1)
        self._looked = min(_BEHIND, len(taken))
        return [taken[place] for place in range(looked, self._looked)]

    def may_give(self, most: int) -> bool:
        """Return whether one more may be sent.

        :param most: how many may be before one was used, where nothing speaks against it.
        """
        beyond = self.given - _FOR_USED * self.used
        return beyond < 1 or (beyond < most and beyond < self.kind.most(most))


class Candidates:
    """Those of one client; what was found or used last goes first.

    :param life: for how many steps of the client they are likely, from when they were found, or one
        of them was used.
    """

    def __init__(self, life: int) -> None:
        self._life = life
        self._groups: deque[Group] = deque()

    def put(self, step: int, oids: list[bytes], kind: Kind) -> None:
        """Take what an object leads to, before all others."""
        if oids:
            self._groups.appendleft(Group(step, oids, kind))
            if len(self._groups) > _MOST_GROUPS:
                self._groups.pop()

    def used(self, step: int, group: Group) -> None:
        """One of a group was used: the others are likely as well."""
        group.step = step
        if group.oids and group in self._groups:
            self._groups.remove(group)
            self._groups.appendleft(group)

    def take(self, step: int, most: int) -> tuple[bytes, Group] | None:
        """Return the likeliest, which is not kept any more; None when there is none.

        :param most: how many of a group may be sent before any of it was used.
        """
        groups = self._groups
        while groups and (not groups[-1].oids or step - groups[-1].step > self._life):
            groups.pop()
        for group in groups:
            if group.oids and group.may_give(most):
                return group.take(), group
        return None

    def give_back(self, taken: list[tuple[bytes, Group]]) -> None:
        """Keep some that were taken after all, in their order."""
        for oid, group in reversed(taken):
            group.give_back(oid)

    def clear(self) -> None:
        """Forget all."""
        self._groups.clear()
