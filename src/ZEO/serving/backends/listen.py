"""Hearing of commits in PostgreSQL at once, by LISTEN and NOTIFY, instead of polling.

Enters: the adapter of a database whose operator has installed a trigger. Leaves: a call in the
loop's thread for each commit, or for several. Fails: never; where it cannot be listened, polls go
on as without it.

The trigger is installed by an operator, ``zeo notify``: it changes a table, and is paid for by
every commit, also of other programs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from ZEO.net.loop import READ, Loop
from ZEO.wire.quoting import of_database

log = logging.getLogger('ZEO.StorageServer')

#: The name of the channel, the function and the trigger.
NAME = 'zeo_notify'

#: Statements that install the trigger; doing it again does no harm. It sends no text, so that the
#: notifications of one transaction are one.
INSTALL = f"""\
create or replace function {NAME}() returns trigger language plpgsql
    as $$ begin perform pg_notify('{NAME}', ''); return null; end $$;
drop trigger if exists {NAME} on object_state;
create trigger {NAME} after insert or update or delete on object_state
    for each statement execute function {NAME}();
"""

#: Statements that remove it.
REMOVE = f"""\
drop trigger if exists {NAME} on object_state;
drop function if exists {NAME}();
"""

_INSTALLED = (
    f"select 1 from pg_trigger where tgname = '{NAME}' and tgrelid = 'object_state'::regclass"
)

#: Seconds between two attempts to listen.
AGAIN = 5.0


class Listener:
    """A connection that listens.

    :param adapter: RelStorage's, of the database; None for another storage.
    :param heard: called in the loop's thread when something may have been committed.
    """

    def __init__(self, name: str, adapter: Any, loop: Loop, heard: Callable[[], None]) -> None:
        self._name = name
        self._adapter = adapter
        self._loop = loop
        self._heard = heard
        self._connection: Any = None
        self._file: _File | None = None  # by which the loop watches it
        self._not_before = 0.0  # the next attempt
        self._warned = False

    @property
    def is_listening(self) -> bool:
        """Whether every commit is heard."""
        return self._connection is not None

    def listen(self) -> None:
        """Begin to listen, if it does not and can; in the follower's thread, before it polls."""
        now = self._loop.system.now()
        if self._connection is not None or now < self._not_before:
            return
        self._not_before = now + AGAIN
        try:
            self._connection = connection = self._opened()
        except Exception as error:  # polls find out whether the database is away
            if not self._warned:
                self._warned = True
                log.warning(
                    'storage %s: its database is polled, since it cannot be listened to: %s',
                    self._name,
                    of_database(error),
                )
            return
        try:
            self._loop.from_thread(partial(self._watch, connection))
        except BaseException:  # no memory: what is not watched is not heard
            self._give_up(connection)
            raise

    def close(self) -> None:
        """Listen no more; in the follower's thread, when the loop has ended."""
        if self._connection is not None:
            self._give_up(self._connection)

    def _give_up(self, connection: Any) -> None:
        self._connection = None
        file, self._file = self._file, None
        if file is not None:
            file.close()
        connection.close()

    def _opened(self) -> Any:
        connections = getattr(self._adapter, 'connmanager', None)
        if connections is None:
            raise ValueError('this kind of storage has no notifications')
        connection, cursor = connections.open()
        try:
            if not hasattr(connection, 'notifies') or not hasattr(connection, 'fileno'):
                raise ValueError('this needs PostgreSQL with the driver psycopg2')
            cursor.execute(_INSTALLED)
            if cursor.fetchone() is None:
                raise ValueError('there is no trigger for it; "zeo notify" installs it')
            cursor.execute(f'listen {NAME}')
            connection.commit()
            connection.autocommit = True
        except BaseException:
            connection.close()
            raise
        return connection

    # In the loop's thread.

    def _watch(self, connection: Any) -> None:
        try:
            self._file = file = _File(os.dup(connection.fileno()))
            self._loop.add(file, READ, lambda events: self._ready(connection, file))
        except BaseException:  # no descriptor or memory is left: later, and until then it is polled
            self._give_up(connection)
            raise
        self._warned = False
        log.info('storage %s: listening to its database', self._name)

    def _ready(self, connection: Any, file: _File) -> None:
        try:
            connection.poll()
        except Exception:  # the connection is lost, as polls will say if others are
            self._loop.remove(file)
            self._give_up(connection)
        else:
            if not connection.notifies:
                return
            del connection.notifies[:]
        self._heard()


class _File:
    """The file of a connection, which closes its own when it is lost, while it is watched."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """Return its number."""
        return self._number

    def close(self) -> None:
        """Close it."""
        os.close(self._number)
