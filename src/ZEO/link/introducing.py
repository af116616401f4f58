"""What follows when a server has registered this client: each learns of the other what it needs.

Enters: a connection that is registered. Leaves: what the server says about its storage; the label
and the abilities of this client at the server; a cache that is up to date. Fails: StaleServerError
for a server that has gone back in time; with what the server fails with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ZEO.link import verify
from ZEO.link.connection import Connection
from ZEO.link.connector import Registered
from ZEO.link.options import Registration
from ZEO.link.state import ClientState
from ZEO.wire.extensions import EXTENSIONS, MESSAGE_SIZE, OF_CLIENTS, READ_AHEAD


@dataclass
class Connected:
    """A connection that is ready to be used.

    :param is_fallback: whether it will do only until a better server is found; mostly, since it
        can only be read, although the application wants to write.
    :param info: what the server says about its storage.
    :param cache_dropped: whether the cache could not be brought up to date.
    """

    connection: Connection
    is_fallback: bool
    info: dict[str, Any]
    cache_dropped: bool


def bring_up_to_date(registered: Registered, wanted: Registration, state: ClientState) -> Connected:
    """Learn what the server says about its storage, and check the cache.

    :raises StaleServerError: when the server has gone back in time.
    :raises Exception: what the server failed with.
    """
    connection, tid = registered.connection, registered.tid
    state.hold()
    connection.events.pass_on()
    if not isinstance(tid, bytes):  # older servers
        tid = connection.call('lastTransaction', ())
    info = introduce(registered, wanted, state.introduced)
    dropped = verify.check(
        state, connection, tid, wanted.drop_cache_if_older, wanted.drop_cache_rather_verify
    )
    state.release()
    return Connected(connection, registered.is_fallback, info, dropped)


def introduce(
    registered: Registered,
    wanted: Registration,
    introduced: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Learn what the server says about its storage, and return it; say who this client is.

    :param introduced: is called with that, before anything is applied that comes behind it.
    """
    connection = registered.connection
    info = connection.call('get_info', (), introduced)
    connection.largest = min(connection.largest, info.get(MESSAGE_SIZE) or connection.largest)
    connection.read_only = registered.read_only
    _send_label(connection, wanted, info)
    return info


def _send_label(connection: Connection, wanted: Registration, info: dict[str, Any]) -> None:
    label = wanted.label
    abilities = [
        name
        for name in OF_CLIENTS
        if name in info.get(EXTENSIONS, ()) and (name != READ_AHEAD or wanted.read_ahead)
    ]
    if abilities:
        label += '\n' + ' '.join(abilities)
    if label:
        connection.send('set_client_label', (label,))
        connection.flush()  # for the server's log: the next call may be a long time off
