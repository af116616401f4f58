"""The number of a storage's objects and its size, which its clients show.

Enters: that a client connects, commits or is gone, or that somebody asks. Leaves: a message with
both figures, at once or late. Fails: never; if a storage cannot say them, the last known ones are
sent.
"""

from __future__ import annotations

from typing import Any

from ZEO.net.loop import ENDS, Loop
from ZEO.serving.clients import Clients

#: Seconds that a look at the sizes may take without being counted as expensive: some storages look
#: at every object.
CHEAP = 0.00005

#: Looks in a row that have to be expensive before a storage is taken for one that is: the first
#: ones of a process are slow, and others may have the processor meanwhile.
LOOKS = 5

#: Seconds of one look after which there is no other in its place, so that a client waits for one.
LONG = 0.05

#: Expensive looks take at most one part in this number of the time.
SIZES_SHARE = 100


class Sizes:
    """The sizes of `storage`, and the clients that wait for them.

    :param name: of the storage, for the log.
    """

    def __init__(self, name: str, storage: Any, clients: Clients, loop: Loop) -> None:
        self._name = name
        self._storage = storage
        self._clients = clients
        self._loop = loop
        self._clock = loop.system.now
        self._found: dict[str, Any] = {'length': 0, 'size': 0}  # at the last look
        self._next_look = 0.0  # when there may be another; 0: at any time
        self._owed: set[Any] = set()  # clients that are sent them then; none that is gone
        self._is_waiting = False  # whether the loop will call _send_late

    def now(self) -> dict[str, Any]:
        """Return the sizes as they are now."""
        cost = self._look()
        if not self._next_look:
            for _ in range(LOOKS - 1):
                if not CHEAP < cost < LONG:
                    break
                cost = min(cost, self._look())
        self._next_look = self._clock() + cost * (SIZES_SHARE - 1) if cost > CHEAP else 0.0
        return self._found

    def known(self) -> dict[str, Any]:
        """Return the sizes; those of a while ago, while looking again would be expensive."""
        is_early = self._next_look and self._next_look > self._clock()
        return self._found if is_early else self.now()

    def send(self, client: Any) -> None:
        """Send the sizes to a client that has committed."""
        self._clients.send_info(client, self.for_client(client))

    def for_client(self, client: Any) -> dict[str, Any]:
        """Return what a client that connects, or has committed, is to be sent now.

        Expensive ones are sent late instead of often: a thousand clients may connect at once.
        """
        if not self._next_look:
            return self.now()
        wait = self._next_look - self._clock()
        if wait <= 0:
            return self.now()
        if client in self._clients:  # it may be gone before its commit has ended
            self._owed.add(client)
            if not self._is_waiting:
                self._is_waiting = True
                self._loop.later(wait, self._send_late)
        return self._found

    def left(self, client: Any) -> None:
        """A client is gone; harmless when nothing was owed to it."""
        self._owed.discard(client)

    def _send_late(self) -> None:
        self._is_waiting = False
        owed, self._owed = self._owed, set()
        if owed:
            found = self.now()
            for client in owed:
                self._clients.send_info(client, found)

    def _look(self) -> float:
        """Look at the storage; return how many seconds it took."""
        began, storage = self._clock(), self._storage
        try:
            self._found = {'length': len(storage), 'size': storage.getSize()}
        except ENDS:
            raise
        except BaseException as error:
            # of a database that restarts, for one: sizes are shown, and no data depends on them
            self._loop.reports.failed('the storage cannot say its size', self._name, error)
        return self._clock() - began
