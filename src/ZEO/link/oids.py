"""New oids, of which a server gives many at a time.

Enters: the oids of one answer after another. Leaves: one oid at a time. Fails: as the call of the
server does.
"""

from __future__ import annotations

from collections.abc import Callable

from ZEO.net.system import System


class Oids:
    """The unused oids of one connection; those of an earlier one are forgotten, since its server
    may give them out again.

    :param ask: returns what the server gives.
    """

    def __init__(self, ask: Callable[[], list[bytes]], system: System) -> None:
        self._ask = ask
        self._system = system
        self._forgotten = 0  # how often they were
        self.start_afresh()

    def start_afresh(self) -> None:
        """Have none: new, or in a forked child, where another thread's lock stays held."""
        self._lock = self._system.lock()  # of those who take one, and maybe wait for a connection
        self.forget()

    def forget(self) -> None:
        """There is another connection. Without the lock: its holder may wait for this one."""
        self._forgotten += 1
        self._oids: list[bytes] = []

    def take(self) -> bytes:
        """Return one."""
        with self._lock:
            while not (oids := self._oids):
                forgotten = self._forgotten
                oids = list(reversed(self._ask()))
                if forgotten == self._forgotten:
                    self._oids = oids
                    break
            return oids.pop()
