"""What a connection proves of the program at its other end.

Enters: an accepted connection, plain or TLS. Leaves: a :class:`Proof`. Fails: TlsError for a
certificate that cannot be read; OSError where the kernel does not say whose process it is.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from ZEO.net.tls_socket import TlsSocket
from ZEO.net.unix_peers import UnixPeer, unix_peer


class Proof(NamedTuple):
    """What is proved."""

    certificate: tuple[str, ...] = ()  # the names in a verified certificate
    unix: UnixPeer | None = None  # the user at the other end of a Unix socket


def proof_of(stream: socket.socket | TlsSocket) -> Proof:
    """Return what is proved of the other end of a connection."""
    return Proof(stream.names if isinstance(stream, TlsSocket) else (), unix_peer(stream))
