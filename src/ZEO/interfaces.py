"""The events that ZEO announces to a program, and what it expects of storages that others write.

Enters: the storage or server that an event is about. Leaves: events, for subscribers of
``zope.event``. Fails: what a subscriber raises passes through :func:`notify`.
"""

from __future__ import annotations

from typing import Any

from zope.interface import Interface


class StaleCache:
    """The client's cache can't be brought up to date and was dropped.

    The objects in the ZODB connections over it may be stale: a program can close these
    connections, or exit and be restarted.

    :param storage: the :class:`ZEO.ClientStorage.ClientStorage`.
    """

    def __init__(self, storage: Any) -> None:
        self.storage = storage


class ServerEvent:
    """Something happened to a storage server.

    :param server: the :class:`ZEO.StorageServer.StorageServer`.
    :param details: further attributes of the event.
    """

    def __init__(self, server: Any, **details: Any) -> None:
        self.__dict__.update(details)
        self.server = server


class Serving(ServerEvent):
    """A server listens, at its attribute ``address``."""


class Closed(ServerEvent):
    """A server and its storages are closed."""


def notify(event: object) -> None:
    """Call the subscribers of ``zope.event``, where that is installed, with an event."""
    from ZODB.event import notify as call_subscribers

    call_subscribers(event)


class IServeable(Interface):
    """What a storage may offer, besides ZODB's interfaces, to the server that serves it."""

    def tpc_transaction():  # type: ignore[misc]
        """Return the transaction that is being committed, or None."""

    def lastInvalidations(size):
        """Return at most `size` of the last transactions as ``(tid, oids)``, the oldest first."""
