"""One client's visit to a storage, as operators see it: in the log and in the status.

Enters: its registration, its label, and its end; the counters of what it has done. Leaves: a line
in the log when it has connected, one when it has disconnected, and its entry in the status
meanwhile. Fails: never.
"""

from __future__ import annotations

import itertools
import logging
from functools import lru_cache
from typing import Any, Protocol

from ZEO.net.loop import Loop
from ZEO.serving.access.identity import Identity
from ZEO.serving.moments import iso, lasted

#: The numbers of visits, by which an administrator can name one; none is given twice in a process.
_numbers = itertools.count(1)

#: Seconds for which the line about a new client waits for its label. Clients send it at once, if at
#: all.
_LABEL_WAIT = 1.0


class Client(Protocol):
    """What a visit needs of :class:`ZEO.serving.peer.Peer`."""

    address: str  # where it has come from
    label: str  # what it calls itself
    loads: int  # objects that it has loaded since it registered
    commits: int  # transactions that it has committed

    @property
    def identity(self) -> Identity:
        """Who it is, as far as that is proved."""

    @property
    def is_restricted(self) -> bool:
        """Whether there are rules that say what it may do."""

    def report(self, level: int, kind: str, text: str, *args: Any) -> None:
        """Write a line about the client into the log."""


class Visit:
    """Begins when the client has registered.

    :param how: how it is served: read-only or not, the protocol, the subject of its certificate.
    """

    def __init__(self, client: Client, storage: str, read_only: bool, how: str, loop: Loop) -> None:
        self._client = client
        self.number = next(_numbers)
        self._storage = storage
        self._read_only = read_only
        self._how = how
        self._loop = loop
        self._began = loop.system.now()
        self._since = loop.system.wall_clock()
        self._announcement: Any = loop.later(_LABEL_WAIT, self.announce)  # None once it was made

    def announce(self) -> None:
        """Log that the client has connected, unless that was done."""
        if self._announcement is not None:
            self._announcement.cancel()
            self._announcement = None
            self._client.report(
                logging.INFO,
                'clients that connect',
                'connected to storage %s, %s',
                self._storage,
                self._how,
            )

    def end(self, level: int, reason: str) -> None:
        """Log that the client has disconnected, why, and what it has done."""
        self.announce()
        client = self._client
        self._client.report(
            level,
            'clients that disconnect',
            'disconnected from storage %s after %s, %d loads and %d commits: %s',
            self._storage,
            lasted(self._loop.system.now() - self._began),
            client.loads,
            client.commits,
            reason,
        )

    def entry(self, with_identity: bool) -> dict[str, Any]:
        """Return the client's entry in the answer to ``server_status``.

        :param with_identity: whether it says who the client is, where there are rules.
        """
        client = self._client
        shown = with_identity and client.is_restricted
        who = {'who': str(client.identity)} if shown else {}
        return {
            'id': self.number,
            'address': client.address,
            'label': client.label,
            'since': iso(self._since),
            'read-only': self._read_only,
            'loads': client.loads,
            'commits': client.commits,
            **who,
        }


@lru_cache(100)
def how_served(read_only: bool, protocol: bytes, tls: str | None) -> str:
    """Return how a client is served, for its line in the log.

    :param tls: the subject of its certificate, empty if it has none; None if the connection is not
        encrypted.
    """
    parts = [
        'for reading only' if read_only else 'for reading and writing',
        f'protocol {protocol.decode("ascii", "replace")}',
    ]
    if tls is not None:
        parts.append(f'TLS as {tls}' if tls else 'TLS without a certificate')
    return ', '.join(parts)
