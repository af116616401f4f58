"""The connections to the database of a RelStorage: known, bounded in time, and cut when they hang.

Enters: an adapter of RelStorage; that its database does not answer. Leaves: connections that fail
instead of waiting. Fails: never.

A driver waits for its database without an end, in C, where nothing but an error of the connection
wakes it. So all that are opened are remembered, and shut down from another thread.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable
from typing import Any

from ZEO.net.cut import cut
from ZEO.net.loop import Loop
from ZEO.serving.filestorage import storages_within

log = logging.getLogger('ZEO.StorageServer')

#: Parameters of psycopg2 for connections, unless the operator has given them: seconds until one is
#: open; and seconds after which a machine that is gone is noticed (10 idle, then 4 probes).
BOUNDED = {
    'connect_timeout': 10,
    'keepalives_idle': 10,
    'keepalives_interval': 5,
    'keepalives_count': 4,
}

#: Seconds that a connection is left alone after it was opened: its database may have come back.
YOUNG = 5.0


class Connections:
    """Those that `adapter` opens from now on, for all instances of its storage.

    :param adapter: RelStorage's; None for another storage, whose connections are not known.
    """

    def __init__(self, adapter: Any, loop: Loop) -> None:
        self._system = loop.system
        self._guard = loop.system.lock()  # of what follows
        self._opened: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        if adapter is not None:
            self._manager = adapter.connmanager
            self._open = self._manager.open
            self._manager.open = self._remembered
            _bound(self._manager)

    def _remembered(self, *args: Any, **named: Any) -> tuple[Any, Any]:
        connection, cursor = self._open(*args, **named)
        try:
            with self._guard:
                self._opened[connection] = self._system.now()
        except TypeError:  # a driver whose connections cannot be remembered: they are not cut
            pass
        return connection, cursor

    def cut(self, only: Iterable[Any] | None = None) -> None:
        """End all that were not opened a moment ago, or `only` these.

        Threads that wait for one get an error of their driver; those that are idle are opened anew
        when they are used next.
        """
        before = self._system.now() - YOUNG
        with self._guard:
            old = [one for one, since in self._opened.items() if since < before]
        for connection in old if only is None else only:
            _cut(connection)


def _cut(connection: Any) -> None:
    try:
        if hasattr(connection, 'fileno'):
            cut(connection.fileno)
        elif hasattr(connection, 'interrupt'):  # SQLite
            connection.interrupt()
    except Exception:  # it is closed, or its driver does not say what it is
        log.debug('a connection to a database was not cut', exc_info=True)


def _bound(manager: Any) -> None:
    dsn = getattr(manager, '_dsn', None)
    if isinstance(dsn, str) and 'psycopg2' in getattr(manager.driver, '__name__', ''):
        more = (f' {name}={value}' for name, value in BOUNDED.items() if name not in dsn)
        manager._dsn = dsn + ''.join(more)


def storing(instance: Any) -> Any:
    """Return what RelStorage has its connection in that it stores with, and that one's cursor; None
    where it stores nothing now.
    """
    for one in storages_within(instance):
        state = getattr(getattr(one, '_tpc_phase', None), 'shared_state', None)
        store = getattr(state, '__dict__', {}).get('store_connection')
        if store is not None and getattr(store, 'connection', None) is not None:
            return store
    return None


def of(instance: Any) -> list[Any]:
    """Return the connections that an instance of RelStorage, or what reads its rows, uses now."""
    managed = [storing(instance)]
    for one in storages_within(instance):
        managed += [getattr(one, '_load_connection', None), one]
    found = [getattr(one, 'connection', None) for one in managed]
    return [one for one in found if one is not None]
