"""Who the client of one connection is, and what that lets it do.

Enters: the connection, the user whose secret was proved, the rules of the server. Leaves: the
client's identity, found out when it is first asked for, and its rights. Fails: TlsError where there
is nothing that a TLS connection could be recognised by.
"""

from __future__ import annotations

from ZEO.net.channel import Channel
from ZEO.serving.access.identity import Identity, identity_of
from ZEO.serving.access.rules import Right
from ZEO.serving.service import Service


class Identified:
    """The part of a :class:`~ZEO.serving.peer.Peer` that says who it is."""

    _channel: Channel
    source: str  # the same for all connections from one host

    def __init__(self, service: Service) -> None:
        self._service = service
        self.user: str | None = None  # who has proved to know its secret
        self._identity: Identity | None = None  # once it was asked for

    def tls_binding(self) -> bytes | None:
        """Return what its TLS connection is recognised by; None without TLS."""
        return self._channel.tls_binding()

    @property
    def identity(self) -> Identity:
        """Who the client is, as far as that is proved; to be asked only when it has sent a message:
        before the TLS handshake nothing is proved, and what is found here stays.
        """
        if self._identity is None:
            self._identity = identity_of(self._channel, self.user)
        return self._identity

    @property
    def guesser(self) -> str:
        """Whose guesses of passwords are counted together: a host's, or those of one user of this
        machine over Unix sockets, so that no user keeps the others out.
        """
        uid = self.identity.uid
        return self.source if uid is None else f'{self.source}, user {uid}'

    def proved(self, user: str) -> None:
        """The client knows the secret of a user."""
        self.user, self._identity = user, None

    @property
    def may_see_lines(self) -> bool:
        """Whether it may read the log, which is about clients of every storage."""
        return all(self.right(name) is Right.ADMIN for name in self._service.storages)

    def right(self, storage: str) -> Right:
        """Return what the client may do with the storage of that name, if there is one."""
        access = self._service.access
        return Right.ADMIN if access is None else access.right(self.identity, storage)

    @property
    def is_restricted(self) -> bool:
        """Whether there are rules that say what it may do."""
        return self._service.access is not None
