"""What a client's log says about its connection: not connected, connected, disconnected.

Enters: what has happened, from any thread. Leaves: lines of the log, written by the connecting
thread alone. Fails: never.

A loss is found by an application's thread, which may be struck by an exception in the middle of
logging. It would keep the lock of a log handler, and every thread of the process that logs would
hang. So losses are only noted, and the connecting thread writes them.
"""

from __future__ import annotations

import logging
from collections import deque

from ZEO.net.system import System

log = logging.getLogger('ZEO.ClientStorage')

#: Seconds between two lines that say that there is no connection.
LOG_EVERY = 60.0


class ConnectionLog:
    """The lines about one link.

    :param who: how each line begins: the storage.
    """

    def __init__(self, who: str, system: System) -> None:
        self._who = who
        self._system = system
        # when and why connections were lost, until that is logged
        self._losses: deque[tuple[float, str]] = deque()
        self._away_since: float | None = None  # since when the log says that there is none
        self._complained_at = -LOG_EVERY

    def lost(self, reason: str) -> None:
        """Note a loss; any thread may."""
        self._losses.append((self._system.now(), reason))

    def write_losses(self) -> None:
        """Log what was noted."""
        while self._losses:
            self._away_since, reason = self._losses.popleft()
            log.warning('%s: disconnected: %s', self._who, reason)

    def connects(self) -> None:
        """A new search for a server begins: its first failure is logged at once."""
        self._complained_at = -LOG_EVERY

    def not_connected(self, problem: str) -> None:
        """Log why there is no connection, the first time and then once in :data:`LOG_EVERY`."""
        now = self._system.now()
        if now - self._complained_at > LOG_EVERY:
            self._complained_at = now
            log.warning('%s: not connected: %s', self._who, problem)
            if self._away_since is None:
                self._away_since = now

    def connected(self, where: str, again: bool) -> None:
        """Log a connection, at the level of what was logged while there was none, so that readers
        of warnings learn that it is over.
        """
        self.write_losses()
        since, self._away_since = self._away_since, None
        if since is None:
            log.info('%s: connected to %s', self._who, where)
        else:
            log.warning(
                '%s: connected%s to %s after %.1f s',
                self._who,
                ' again' if again else '',
                where,
                self._system.now() - since,
            )

    def stays(self, reason: Exception) -> None:
        """Log why the connection is kept although a better server was found, as often as that."""
        now = self._system.now()
        if now - self._complained_at > LOG_EVERY:
            self._complained_at = now
            log.warning('%s: the connected server is kept: %s', self._who, reason)

    def not_watched(self, error: RuntimeError) -> None:
        """Log that no thread reads the connection while no call does."""
        log.warning('%s: no thread can be started to watch the connection: %s', self._who, error)
