"""The server that is shown, as the monitor sees it, and who looks.

Enters: parts of a server. Leaves: what the monitor's pages are made from. Fails: never.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ZEO.net.last_lines import LastLines
from ZEO.net.loop import Loop
from ZEO.serving.access.identity import Identity
from ZEO.serving.access.rules import Right
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.limits import Limits
from ZEO.serving.monitor.history import History
from ZEO.serving.reception import Reception
from ZEO.serving.service import Service


@dataclass
class Watched:
    """One server.

    :param is_stopping: whether it takes no more clients.
    """

    service: Service
    reception: Reception
    is_stopping: Callable[[], bool]
    history: History

    @property
    def storages(self) -> Mapping[str, HostedStorage]:
        """What it serves, by name."""
        return self.service.storages

    @property
    def limits(self) -> Limits:
        """What clients may cost it."""
        return self.reception.limits

    @property
    def connections(self) -> int:
        """How many connections it has, of clients that have registered or not."""
        return len(self.reception.peers)

    @property
    def unread(self) -> int:
        """How many bytes wait for clients that do not read them."""
        return self.reception.unread.total

    @property
    def lines(self) -> LastLines:
        """The last lines of the log."""
        return self.loop.reports.lines

    @property
    def loop(self) -> Loop:
        """Its loop."""
        return self.service.loop


@dataclass(frozen=True)
class Viewer:
    """Who looks, as far as the connection proves that.

    Figures are for all who reach the address. Who the clients are is only for those who may see it
    with :func:`ZEO.serving.status.details`, too.
    """

    service: Service
    identity: Identity

    def right(self, storage: str) -> Right:
        """Return what it may do with the storage of that name."""
        access = self.service.access
        return Right.ADMIN if access is None else access.right(self.identity, storage)

    def may_see_clients(self, storage: str) -> bool:
        """Whether it is shown the clients of a storage: their addresses and labels."""
        return self.right(storage) is not Right.NOTHING

    def may_see_identities(self, storage: str) -> bool:
        """Whether it is shown who they are."""
        return self.right(storage) is Right.ADMIN

    @property
    def may_see_lines(self) -> bool:
        """Whether it is shown lines of the log, which are about clients of every storage."""
        return all(self.may_see_identities(name) for name in self.service.storages)
