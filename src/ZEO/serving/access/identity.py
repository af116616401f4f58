"""Who a client is, as far as that is proved: by a secret, a certificate, or the kernel.

Enters: what the connection says of its other end, and the user that a secret has proved. Leaves: an
:class:`Identity`, which rules are compared with. Fails: never; what cannot be read becomes the
`trouble` of the identity, which has no right at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ZEO.net.proofs import Proof
from ZEO.net.tls_errors import TlsError
from ZEO.wire.quoting import cleaned, text_of

#: The end of a denial, for the person who reads it.
ASK = 'an administrator of the server gives rights in its <access> sections'


class Connection(Protocol):
    """What is asked of :class:`ZEO.net.channel.Channel`."""

    @property
    def proof(self) -> Proof:
        """What it proves of the client."""


@dataclass(frozen=True)
class Identity:
    """One client.

    :param user: who has proved to know its secret; None where no secret was proved.
    :param certificate: the names in a verified certificate, the whole subject first.
    :param uid: the user of the process at the other end of a Unix socket; None for TCP.
    :param groups: the groups of that process.
    :param trouble: why it cannot be found out who the client is.
    """

    user: str | None = None
    certificate: tuple[str, ...] = ()
    uid: int | None = None
    groups: frozenset[int] = frozenset()
    trouble: str = ''

    def __str__(self) -> str:
        if self.trouble:
            return f'a client of which this server cannot find out who it is: {self.trouble}'
        return ', '.join(self._proved()) or 'a client that has not proved who it is'

    def _proved(self) -> Iterable[str]:
        if self.user is not None:
            yield f'user {cleaned(self.user)}'
        if self.certificate:
            yield f'certificate {cleaned(self.certificate[0])}'
        if self.uid is not None:
            yield f'Unix user {self.uid}'


def identity_of(connection: Connection, user: str | None) -> Identity:
    """Return the identity of a client.

    :param user: the user whose secret it has proved to know.
    """
    try:
        proof = connection.proof
    except (OSError, TlsError) as error:  # too many groups; a name that is not a text
        return Identity(trouble=text_of(error))
    if proof.unix is None:
        return Identity(user, proof.certificate)
    return Identity(user, proof.certificate, proof.unix.uid, frozenset(proof.unix.groups))
