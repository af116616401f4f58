"""The stack and the memo of a pickle machine, which know the size of every value.

Enters: values that opcodes make. Leaves: values for later opcodes. Fails: :class:`Unreadable` for a
value that is nested too deeply or would be too large, and for values that are not there.

The size of a value is how deep it is nested, and how large it would be if nothing in it were
shared. So no value is made that a comparison, a hash or a pickler could not walk through.
"""

from __future__ import annotations

from typing import Any

from ZEO.wire.opcodes import Unreadable

#: Levels of nesting; ZODB's own states have five.
MAX_DEPTH = 100

#: Parts that a value may unfold to, for each byte of its pickle and in addition: records share
#: strings and classes, not structures.
UNFOLDED, UNFOLDED_ANYWAY = 4, 10_000


class WeighedStack:
    """That of one machine.

    :param size: bytes of the pickles.
    """

    bounded = True  # whether sizes are checked

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        # of each value on the stack: how large it is when unfolded
        self.weights: list[int] = []
        self.depths: list[int] = []  # and how deep it is nested
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, tuple[Any, int, int]] = {}
        self._most_weight = UNFOLDED * size + UNFOLDED_ANYWAY
        self._grown: dict[int, tuple[int, int]] = {}  # id of what can grow -> weight and depth
        self._kept: list[Any] = []  # keeps these objects alive, and so their ids unique
        # ids of values that were taken from the memo, and so may be in several places
        self._sealed: set[int] = set()

    def push(self, value: Any, weight: int = 1, depth: int = 0) -> None:
        """Put a value on the stack."""
        self.stack.append(value)
        self.weights.append(weight)
        self.depths.append(depth)

    def push_new(self, value: Any, weight: int = 1, depth: int = 1) -> None:
        """Put a value that can grow on the stack."""
        self._kept.append(value)
        self._grown[id(value)] = weight, depth
        self.push(value, weight, depth)

    def drop(self, start: int) -> None:
        """Remove everything from the height `start` on from the stack."""
        del self.stack[start:], self.weights[start:], self.depths[start:]

    def fence(self, count: int) -> int:
        """Return the height at which the `count` topmost values begin.

        :raises Unreadable: when one of them is below the last mark.
        """
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise Unreadable('an empty stack')
        return start

    def above(self, start: int) -> tuple[int, int]:
        """Return weight and depth of a container of everything from the height `start` on."""
        if not self.bounded:
            return 1, 1
        weight = 1 + sum(self.weights[start:])
        depth = 1 + max(self.depths[start:], default=0)
        if depth > MAX_DEPTH or weight > self._most_weight:
            raise Unreadable('data that is nested too deeply, or shared too often')
        return weight, depth

    def replace(self, start: int, value: Any) -> None:
        """Replace everything from the height `start` on by `value`, which was made of it."""
        weight, depth = self.above(start)
        self.drop(start)
        if type(value) in (tuple, bytes):
            self.push(value, weight, depth)
        else:
            self.push_new(value, weight, depth)

    def grow(self, start: int) -> tuple[Any, list[Any]]:
        """Take everything from the height `start` on as items for the value below it.

        :returns: that value, and the items.
        """
        target = self.stack[start - 1]
        if start - 1 < (self.marks[-1] if self.marks else 0) or id(target) in self._sealed:
            raise Unreadable('a value that changes after it was used')
        weight, depth = self.above(start)
        weight = self.weights[start - 1] = self.weights[start - 1] + weight
        depth = self.depths[start - 1] = max(self.depths[start - 1], depth)
        if self.bounded and weight > self._most_weight:
            raise Unreadable('data that is shared too often')
        if id(target) in self._grown:
            self._grown[id(target)] = weight, depth
        items = self.stack[start:]
        self.drop(start)
        return target, items

    def put(self, index: int) -> None:
        """Remember the topmost value."""
        self.memo[index] = self.stack[-1], self.weights[-1], self.depths[-1]

    def get(self, index: int) -> None:
        """Put a remembered value on the stack."""
        value, weight, depth = self.memo[index]
        grown = self._grown.get(id(value))
        if grown is not None:
            weight, depth = grown
            self._sealed.add(id(value))
        self.push(value, weight, depth)
