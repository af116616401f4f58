"""Calls about the connection itself: registering, and figures of the service.

Enters: the client's calls. Leaves: the storage that it has registered for; figures. Fails:
ValueError for a storage that is not served (where there are rules AuthError, also for one that the
client may not see), ReadOnlyError for one that it may not write to; it stays unregistered then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ZODB.POSException import ReadOnlyError

from ZEO.Exceptions import AuthError, ProtocolError
from ZEO.serving.access.identity import ASK
from ZEO.serving.access.proving import Passwords, Proving
from ZEO.serving.access.rules import Right
from ZEO.serving.calls.family import Call, Client, Family
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.later import Later, after
from ZEO.serving.status import details
from ZEO.wire.calls import Method
from ZEO.wire.extensions import READ_AHEAD, RESOLVES, STOPPING
from ZEO.wire.quoting import LABEL, cleaned, quoted

#: Denials of storages on one connection: each takes a look at all rules for all storages.
MOST_DENIALS = 5

#: The calls by which a client proves who it is.
_PROOFS = 'scram_first', 'scram_final'


class Unregistered:
    """The calls of a client that has not registered: it may do that, and prove who it is before.

    :param storages: what it may register for, by name.
    :param passwords: with what it may prove first who it is.
    """

    def __init__(
        self, client: Client, storages: Mapping[str, HostedStorage], passwords: Passwords | None
    ) -> None:
        self._client = client
        self._storages = storages
        self._denials = 0
        self._proving = Proving(client, passwords)
        self._over = False  # it has registered, or is gone

    def bind(self, method: Method, several: bool = False) -> Call:
        """Return a call of this client.

        :param several: several calls at once, see :mod:`ZEO.wire.runs`.
        :raises ProtocolError: for one that it may not make now.
        """
        if method.name == 'register':
            return Call(method, method.arguments.check, self.register)
        if method.name in _PROOFS:
            return Call(method, method.arguments.check, getattr(self._proving, method.name))
        raise ProtocolError(f'client called {method.name} before register')

    def register(self, name: Any, read_only: Any, *credentials: Any) -> bytes | Later:
        """Choose a storage, and whether for reading only; return its last tid."""
        self._proving.check_over()
        hosted = self._storages.get(name) if isinstance(name, str) else None
        right = self._client.right(name) if isinstance(name, str) else Right.NOTHING
        if hosted is None or right is Right.NOTHING:
            raise self._no_storage(name)
        if right < Right.WRITE and not read_only:
            raise self._only_readable(hosted.name)
        if hosted.read_only and not read_only:
            self._refused(
                'refused: it wants to write to storage %s, which is served read-only', name
            )
            raise ReadOnlyError(
                f'the storage {name!r} is served read-only{hosted.backend.where_to_write()}'
            )
        if hosted.backend.refresh is None:
            return self._admitted(hosted, bool(read_only), right)
        # so that it sees what it has seen at another server of that database
        refreshed = hosted.backend.refresh()
        return after(refreshed, lambda _: self._admitted_late(hosted, bool(read_only), right))

    def _admitted_late(self, hosted: HostedStorage, read_only: bool, right: Right) -> bytes:
        if self._over:
            raise ProtocolError('client registered twice')
        if self._client.right(hosted.name) < right:  # the rules have changed meanwhile
            raise self._no_storage(hosted.name)
        return self._admitted(hosted, read_only, right)

    def _admitted(self, hosted: HostedStorage, read_only: bool, right: Right) -> bytes:
        self._over = True
        tid = hosted.last_transaction()
        self._client.registered(hosted, read_only, right)
        return tid

    def _no_storage(self, name: Any) -> Exception:
        """Return the error for a name: the same for a storage that there is not, and for one that
        this client may not see.
        """
        client = self._client
        if not client.is_restricted:
            self._refused('refused: there is no storage %s', quoted(name))
            return ValueError(
                f'there is no storage {quoted(name)} on this server; it serves '
                f'{", ".join(sorted(self._storages))}'
            )
        self._denials += 1
        if self._denials > MOST_DENIALS:
            raise ProtocolError('client asks again and again for storages that it may not use')
        who = client.identity
        client.denied(logging.WARNING, 'storage', 'denied: storage %s, as %s', quoted(name), who)
        visible = sorted(one for one in self._storages if client.right(one))
        return AuthError(
            f'there is no storage {quoted(name)} on this server that this client may use as {who}; '
            f'it may use {", ".join(visible) or "none"}: {ASK}'
        )

    def _only_readable(self, name: str) -> Exception:
        who = self._client.identity
        self._client.denied(
            logging.INFO, 'write', 'denied: it wants to write to storage %s, as %s', name, who
        )
        return ReadOnlyError(
            f'this client may only read the storage {name!r} as {who}: open it with read_only=True'
        )

    def _refused(self, text: str, *args: Any) -> None:
        self._client.report(logging.INFO, 'refused clients', text, *args)

    def close(self) -> None:
        """The client is gone; it had nothing open."""
        self._over = True


class SessionCalls(Family):
    """Calls about the connection and the service."""

    def register(self, *args: Any) -> None:
        raise ProtocolError('client registered twice')

    def scram_first(self, text: str) -> None:
        raise ProtocolError('client proved who it is after register')

    def scram_final(self, text: str) -> None:
        raise ProtocolError('client proved who it is after register')

    def get_info(self) -> dict[str, Any]:
        """Describe the storage, and what this server can do."""
        return self._hosted.info(self._client)

    def server_status(self) -> dict[str, Any]:
        """Return the figures of the service."""
        hosted, client = self._hosted, self._client
        return details(hosted, client.right(hosted.name) is Right.ADMIN, client.may_see_lines)

    def kick(self, which: str) -> list[str]:
        """End the connections of other clients of this storage; return their addresses.

        :param which: the number, the address or the label of a client.
        """
        client, number = self._client, _number(which)
        found = [
            peer
            for peer in self._hosted.peers
            if peer is not client
            and (peer.visit.number == number or which in (peer.address, peer.label or None))
        ]
        ended = [str(peer.address) for peer in found]
        for peer in found:
            peer.close(f'ended by an administrator: zeo kick, from {client.address}')
        return ended

    def ping(self) -> Later | None:
        """Answer once the client has been sent everything that was committed before."""
        return self._hosted.backend.ping()

    def set_client_label(self, label: str) -> None:
        """Take the client's label, and after a line break the names of what it can do."""
        label, _, abilities = (label if isinstance(label, str) else quoted(label)).partition('\n')
        client = self._client
        client.label = cleaned(label, LABEL)
        client.resolves = client.resolves or RESOLVES in abilities.split()
        client.leaves = STOPPING in abilities.split()
        if READ_AHEAD in abilities.split():
            client.takes_ahead()
        client.labelled()


def _number(text: str) -> int | None:
    """Return the number that a text is; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
