"""New oids, of which a server gives many at a time.

Enters: the oids of one answer after another. Leaves: one oid at a time. Fails: as the call of the
server does.
"""

from __future__ import annotations

from collections.abc import Callable


class Oids:
    """The unused oids of one connection; those of an earlier one are forgotten, since its server
    may give them out again. Any thread may call any method.

    There is no lock, so that no thread waits for a server longer than its own call does.

    :param ask: returns what the server gives, at least one.
    """

    def __init__(self, ask: Callable[[], list[bytes]]) -> None:
        self._ask = ask
        self.forget()

    def forget(self) -> None:
        """There is another connection, or this is a forked child."""
        self._oids: list[bytes] = []  # the next one last

    def take(self) -> bytes:
        """Return one."""
        while True:
            oids = self._oids
            try:
                return oids.pop()
            except IndexError:
                # what was asked for on an earlier connection joins a list that was forgotten
                oids.extend(reversed(self._ask()))
