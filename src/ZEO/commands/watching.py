"""Looks after the loop of a running server, from within: is it alive, and is it in time?

Enters: a server and the supervisor of its process. Leaves: messages to the supervisor, which starts
a process again whose loop hangs; a line in the log when the loop was busy with one thing for long.
Fails: never.
"""

from __future__ import annotations

import logging

from ZEO.net.notifications import Supervisor
from ZEO.net.system import REAL
from ZEO.serving.moments import lasted
from ZEO.StorageServer import StorageServer

log = logging.getLogger('ZEO.runzeo')

#: Seconds between two looks: what is slow is slow for a second, unless configured otherwise.
TICK = 1.0

#: Seconds between two looks at least: a watchdog in microseconds must not keep the loop busy.
SHORTEST = 0.02

#: Seconds between two texts about the server for the supervisor.
STATUS = 10.0


class Watching:
    """Looks at `server`, in its loop's thread."""

    def __init__(self, server: StorageServer, supervisor: Supervisor) -> None:
        self._server = server
        self._supervisor = supervisor
        wanted = supervisor.watchdog / 3 if supervisor.watchdog else TICK
        self._tick = min(TICK, max(SHORTEST, wanted))
        self._due = 0.0  # when the next look is
        self._status_due = 0.0  # when the next text is

    def begin(self) -> None:
        """The server serves."""
        self._supervisor.send('READY=1')
        self._status_due = REAL.now()
        self._look_again()

    def _look_again(self) -> None:
        now = REAL.now()
        self._due = now + self._tick
        self._server.later(self._tick, self._look)  # first, whatever the rest raises
        if self._supervisor.watchdog:
            self._supervisor.send('WATCHDOG=1', patience=0)
        if self._supervisor.listens and now >= self._status_due and not self._server.is_stopping:
            self._status_due = now + STATUS
            self._supervisor.status(self._text(), patience=0)

    def _look(self) -> None:
        try:
            self._note_delay(REAL.now() - self._due)
        finally:
            self._look_again()

    def _note_delay(self, late: float) -> None:
        """Note that the loop was late, where that is slow."""
        logs = [hosted.slow for hosted in self._server.hosted.values()]
        concerned = [slow for slow in logs if 0 < slow.times.load <= late]
        for slow in concerned:
            slow.loop(late)
        if concerned:
            log.warning(
                'clients were not served for %s: one call, or another program of this machine, '
                'took that time',
                lasted(late),
            )

    def _text(self) -> str:
        clients = sum(len(hosted.peers) for hosted in self._server.hosted.values())
        return f'serving {", ".join(self._server.hosted)} to {clients} clients'
