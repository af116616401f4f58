"""Who a client is, as far as that is proved: by a secret, a certificate, or the kernel.

Enters: what the connection says of its other end, and the user that a secret has proved. Leaves: an
:class:`Identity`, which rules are compared with. Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ZEO.net.proofs import Proof
from ZEO.wire.quoting import cleaned


@dataclass(frozen=True)
class Identity:
    """One client.

    :param user: who has proved to know its secret; None where no secret was proved.
    :param certificate: the names in a verified certificate, the whole subject first.
    :param uid: the user of the process at the other end of a Unix socket; None for TCP.
    :param groups: the groups of that process.
    :param source: where it connects from, for the log.
    """

    user: str | None = None
    certificate: tuple[str, ...] = ()
    uid: int | None = None
    groups: frozenset[int] = frozenset()
    source: str = ''

    def __str__(self) -> str:
        return ', '.join(self._proved()) or 'a client that has not proved who it is'

    def _proved(self) -> Iterable[str]:
        if self.user is not None:
            yield f'user {cleaned(self.user)}'
        if self.certificate:
            yield f'certificate {cleaned(self.certificate[0])}'
        if self.uid is not None:
            yield f'Unix user {self.uid}'


def identity_of(proof: Proof, user: str | None, source: str) -> Identity:
    """Return the identity of a client.

    :param proof: what its connection proves.
    :param user: the user whose secret it has proved to know.
    """
    if proof.unix is None:
        return Identity(user, proof.certificate, None, frozenset(), source)
    return Identity(user, proof.certificate, proof.unix.uid, frozenset(proof.unix.groups), source)
