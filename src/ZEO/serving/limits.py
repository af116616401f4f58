"""The bounds that keep one client from costing the others anything.

Enters: what the operator configured.  Leaves: the numbers.  Fails: never.
"""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a server accepts; every figure may be set in its configuration."""

    #: The largest message of a registered client, in bytes.  A pickle of protocol 3 holds bytes up to 4 GiB; half of that
    #: is what every Python and every 32-bit signed length can handle.
    message_size: int = 2**31 - 1

    #: The largest message before `register`, in bytes: nobody has said yet who he is.
    handshake_size: int = 64 * 1024

    #: Seconds from accept to `register`, the TLS handshake included.
    handshake_time: float = 10.0

    #: Bytes that may wait for a client that does not read; past it nothing more is read from it.
    output_buffer: int = 64 * 2**20

    #: Connections at a time; more are closed at once, with a word in the log.
    connections: int = 10_000

    #: Bytes of one transaction that are kept in memory; what is beyond goes to a temporary file.
    commit_memory: int = 10 * 2**20

    #: Bytes of records that clients have loaded from a FileStorage last; 0 to keep none.
    record_memory: int = 32 * 2**20

    #: Iterators that one client may have open; past it the one that was unused longest ends.
    iterators: int = 1_000
