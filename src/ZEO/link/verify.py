"""The cache check on connect: what changed while this client was away?

Enters: a registered connection, the client state with its cache, the server's last tid. Leaves: a
client state and a database that are as new as the server. Fails: StaleServerError where the server
is older than this client; what the server raises.

Its time does not depend on the cache's size: nothing (the same tid), or the oids that the server
names, or all at once.
"""

from __future__ import annotations

import logging

from ZODB.utils import z64

from ZEO.Exceptions import StaleServerError
from ZEO.link.connection import Connection
from ZEO.link.state import ClientState
from ZEO.wire import shapes

log = logging.getLogger('ZEO.ClientStorage')


def check(
    state: ClientState,
    connection: Connection,
    server_tid: bytes,
    drop_when_older: bool,
    drop_rather: bool,
) -> bool:
    """Bring `state` up to date; return whether everything it knew had to be dropped.

    :param drop_when_older: drop the cache, instead of raising, when the server is older than it.
    :param drop_rather: do not ask what has changed.
    :raises StaleServerError: when it is, without `drop_when_older`.
    """
    known = state.cache.getLastTid() or state.last_tid
    changes: tuple[bytes, list[bytes]] | None
    if known is None or known == z64:  # nothing to bring up to date
        state.reset_to(server_tid)
        return False
    if known > server_tid:
        accept_older(connection, known, server_tid, drop_when_older)
        changes = None
    elif state.is_resetting:
        changes = None
    elif known == server_tid:
        changes = server_tid, []
    else:
        changes = _changes_since(known, connection, drop_rather)
    if changes is None:
        state.reset_to(server_tid)
        return True
    state.catch_up(*changes)
    return False


def older(connection: Connection, known: bytes, server_tid: bytes) -> StaleServerError:
    """Return the error of a server that has gone back in time."""
    return StaleServerError(
        f'the server {connection.where} is older than this client: its last transaction is '
        f'{server_tid.hex()}, but this client has seen {known.hex()}. Was it restored from a '
        'backup, or is it another database? If the server is right, remove the cache file of '
        'this client, or open the storage with drop_cache_if_older=True'
    )


def refuse_older(connection: Connection, known: bytes | None, server_tid: object) -> None:
    """Refuse a server before the connected one is left for it.

    :param server_tid: what it has answered to register.
    :raises StaleServerError: when it does not have what this client has seen.
    """
    if known is not None and isinstance(server_tid, bytes) and server_tid < known:
        raise older(connection, known, server_tid)


def accept_older(
    connection: Connection, known: bytes, server_tid: bytes, drop_when_older: bool
) -> None:
    """Log that everything is to be dropped, since the server has gone back in time.

    :raises StaleServerError: without `drop_when_older`.
    """
    if not drop_when_older:
        raise older(connection, known, server_tid)
    log.warning('%s: the server is older than the cache: the cache is dropped', connection.who)


def _changes_since(
    known: bytes, connection: Connection, drop_rather: bool
) -> tuple[bytes, list[bytes]] | None:
    """Return the last tid and the oids that have changed; None when that is not known."""
    answer = None if drop_rather else connection.call('getInvalidations', (known,))
    shapes.answer('getInvalidations', answer, connection.where)
    if answer is None:
        log.warning(
            '%s: it is not known what has changed since %s: the cache is dropped',
            connection.who,
            known.hex(),
        )
        return None
    return answer[0], list(answer[1])
