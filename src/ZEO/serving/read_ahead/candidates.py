"""What a client may want next, for when there is room to send it.

Enters: oids, those that one object leads to at a time. Leaves: oids, the likeliest first. Fails:
never; what is too much is forgotten, and is found again where it is needed.
"""

from __future__ import annotations

from collections import deque

#: Objects that are kept: more than a client is sent in one go.
_MOST = 1000


class Candidates:
    """Those of one client; what was found last goes first.

    :param life: after how many steps of the client they are not likely any more.
    """

    def __init__(self, life: float = float('inf')) -> None:
        self._life = life
        self._groups: deque[tuple[int, deque[bytes]]] = deque()  # each with the step of its time
        self._count = 0

    def put(self, step: int, oids: list[bytes]) -> None:
        """Take more, in their order, before all others."""
        if oids:
            self._groups.appendleft((step, deque(oids)))
            self._count += len(oids)
            while self._count > _MOST:
                _, last = self._groups[-1]
                last.pop()
                self._count -= 1
                if not last:
                    self._groups.pop()

    def take(self, step: int) -> bytes | None:
        """Return the likeliest, which is not kept any more; None when there is none."""
        while self._groups:
            since, group = self._groups[0]
            if group and step - since <= self._life:
                self._count -= 1
                return group.popleft()
            self._count -= len(group)
            self._groups.popleft()
        return None

    def clear(self) -> None:
        """Forget all."""
        self._groups.clear()
        self._count = 0

    def __len__(self) -> int:
        return self._count
