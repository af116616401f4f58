"""The bounds that keep one client from costing the others anything.

Enters: what the operator configured. Leaves: the numbers, and for each its unit, its key and why it
is what it is. Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from ZEO.wire.checks import MAX_PARTS


class Bound(NamedTuple):
    """What the documentation says of one limit."""

    name: str  # the field of Limits
    default: float
    unit: str
    key: str | None  # the key of <zeo> that sets it; None where no operator has a reason to
    reached: str  # what happens then
    reason: str  # for the default


def _bound(default: Any, unit: str, key: str | None, reached: str, reason: str) -> Any:
    """A field of Limits with its documentation."""
    return field(
        default=default, metadata={'unit': unit, 'key': key, 'reached': reached, 'reason': reason}
    )


@dataclass(frozen=True)
class Limits:
    """What a server accepts."""

    message_size: int = _bound(
        2**31 - 1,
        'bytes',
        'max-message-size',
        'the connection is closed',
        'a pickle of protocol 3 holds 4 GB; half of that is what every signed length can say',
    )
    message_parts: int = _bound(
        MAX_PARTS,
        'parts',
        None,
        'the connection is closed',
        'numbers, texts and lists of a request; the largest of an honest client has some '
        'thousands, and each takes the server a '
        'fraction of a microsecond and up to 200 bytes',
    )
    conflict_parts: int = _bound(
        200_000,
        'parts',
        None,
        'the conflict goes to the client',
        'opcodes of a record that the server resolves itself, which takes about a microsecond for '
        'each',
    )
    handshake_size: int = _bound(
        64 * 1024,
        'bytes',
        'max-handshake-size',
        'the connection is closed',
        'a larger message than ``register`` needs comes from a stranger',
    )
    handshake_time: float = _bound(
        10.0,
        'seconds',
        'handshake-timeout',
        'the connection is closed',
        'from accept to ``register``, with the TLS handshake, over any network',
    )
    output_buffer: int = _bound(
        64 * 2**20,
        'bytes',
        'output-buffer-size',
        'nothing more is read from this client until it has read; one that does not read its '
        'invalidations is closed',
        'a few large records for a slow client',
    )
    shared_output: int = _bound(
        512 * 2**20,
        'bytes',
        'shared-output-size',
        'nothing more is read from clients that have not read what waits for them, until they have',
        'eight clients that do not read, each with all that one may leave',
    )
    turn: float = _bound(
        0.004,
        'seconds',
        None,
        'the other clients are served before its next call is',
        'for the calls that one client has sent at once; those who have sent many share it',
    )
    batch: int = _bound(
        2**20,
        'bytes',
        None,
        'the client asks again for the rest',
        'of an answer with many objects (``prefetch``, at most 1,000 of them at a time); round '
        'trips do not count any more',
    )
    connections: int = _bound(
        10_000,
        'connections',
        'max-connections',
        'a new connection is closed, with a line in the log',
        'several times what one loop serves well',
    )
    strangers: int = _bound(
        1_000,
        'connections',
        'max-unregistered',
        'the oldest connection that has not registered, of the address that has most of them, is '
        'closed',
        'that have not registered yet; a whole site reconnects at once after a restart of the '
        'server',
    )
    strangers_from_one: int = _bound(
        200,
        'connections',
        'max-unregistered-per-address',
        'the oldest connection of that address that has not registered is closed',
        'the same from one address (of IPv6: network of 64 bits), as all processes of an office '
        'have; not of this machine, where '
        'a proxy may be',
    )
    commit_memory: int = _bound(
        10 * 2**20,
        'bytes',
        'commit-buffer-size',
        'the rest of its transactions goes to temporary files',
        'what the transactions of one client may have in memory until they are voted on; nearly '
        'all stay there',
    )
    shared_memory: int = _bound(
        512 * 2**20,
        'bytes',
        'shared-buffer-size',
        'transactions go to temporary files whatever their size, and large messages arrive one '
        'after the other',
        'what messages that arrive and transactions of all clients may have in memory; fifty times '
        'what one client may have',
    )
    transactions: int = _bound(
        200,
        'transactions',
        'max-transactions',
        'one more fails at its vote; a client that begins as many again is closed',
        'open at a time on one connection; a process has fewer threads that commit',
    )
    transaction_disk: int = _bound(
        16 * 2**30,
        'bytes',
        'max-transaction-size',
        'the transaction fails at its vote',
        'records of one client in temporary files; larger than any known transaction',
    )
    blob_disk: int = _bound(
        64 * 2**30,
        'bytes',
        'max-upload-size',
        'the transaction fails at its vote',
        'blobs of one client that are not committed yet; an hour of a network of 150 Mbit/s',
    )
    record_memory: int = _bound(
        32 * 2**20,
        'bytes',
        'record-cache-size',
        'records that were loaded longest ago are forgotten',
        'what clients load again and again of a FileStorage; for each storage',
    )
    slow_calls: int = _bound(
        100,
        'calls',
        'max-slow-calls',
        'nothing more is read from this client until some of them are answered',
        'what runs in threads (``undoLog``, ``history``, and everything on the storage of another '
        'server); more than a '
        'process has threads that ask',
    )
    iterators: int = _bound(
        50,
        'iterators',
        'max-iterators',
        'the iterator that was unused longest ends',
        'over transactions, each of which keeps a file of a FileStorage open; a program iterates '
        'over one or two at a time',
    )
    downloads: int = _bound(
        1_000,
        'blobs',
        'max-downloads',
        'the call that asks for one more fails',
        'that wait to be sent; four of them are sent at a time, and no program has a thousand '
        'threads that wait for one each',
    )
    monitor_connections: int = _bound(
        64,
        'connections',
        'max-monitor-connections',
        'the one that has asked for nothing for the longest time is closed',
        'to ``monitor-address``; browsers and monitoring programs have one or a few each',
    )
    monitor_time: float = _bound(
        30.0,
        'seconds',
        None,
        'the connection is closed',
        'between two requests to ``monitor-address``, with the time that the answer takes',
    )
    monitor_share: float = _bound(
        0.1,
        'of the time',
        None,
        'requests wait',
        'that answers at ``monitor-address`` take of the one thread that serves all',
    )
    invalidation_oids: int = _bound(
        100_000,
        'object ids',
        None,
        'the oldest remembered transactions are forgotten; a client that was away since then drops '
        'its cache',
        'a few megabytes for each storage, and a quarter of a second at the start to read them',
    )


def bounds() -> Iterator[Bound]:
    """Yield the documentation of all limits, in the order of their declaration."""
    for limit in fields(Limits):
        yield Bound(limit.name, limit.default, **limit.metadata)  # type: ignore[arg-type]


#: Keys of <zeo> that are limits, as attributes of ZConfig's section -> the fields of Limits that
#: they set.
KEYS: dict[str, str] = {
    bound.key.replace('-', '_'): bound.name for bound in bounds() if bound.key is not None
}
