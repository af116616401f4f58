"""The calls that a link to a server takes.

Enters: calls from any thread. Leaves: their results. Fails: ClientDisconnected when there is no
connection in time, or it is lost during a call; as the server does.

What was not sent, since the server is about to stop, goes to the next one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ZEO.link.connection import Connection
from ZEO.link.outbox import NotSent


class Calling(ABC):
    """Calls over one connection after another."""

    connection: Connection | None  # the one to use

    @abstractmethod
    def wait(self, timeout: float | None = None) -> Connection:
        """Return the connection, after waiting for one if there is none."""

    def call(self, name: str, *args: Any, applied: Callable[[Any], Any] | None = None) -> Any:
        """Call the server; see :meth:`Connection.call`."""
        try:
            return (self.connection or self.wait()).call(name, args, applied)
        except NotSent:
            return self.wait().call(name, args, applied)

    def load_before(self, oid: bytes, tid: bytes, state: Any) -> Any:
        """Call loadBefore; see :meth:`Connection.load_before`."""
        try:
            return (self.connection or self.wait()).load_before(oid, tid, state)
        except NotSent:
            return self.wait().load_before(oid, tid, state)

    def synchronize(self) -> None:
        """Return once all has arrived that the server has done before."""
        self.call('ping')
