"""An end of waiting for a database that does not answer.

Enters: for how long the follower, and threads that load and commit, have waited. Leaves: cut
connections, and writers whose threads are left alone where that does not help. Fails: never. All in
the loop's thread.
"""

from __future__ import annotations

import logging
from typing import Any

from ZEO.serving.backends.finishing import LONGEST
from ZEO.serving.backends.follow import Follower
from ZEO.serving.backends.instances import Instances
from ZEO.serving.backends.readers import Readers
from ZEO.serving.backends.writers import Writers
from ZEO.serving.moments import lasted

log = logging.getLogger('ZEO.StorageServer')

#: Seconds between two looks.
EVERY = 1.0

#: Seconds after which the connections to a database that does not answer are cut.
HUNG = 10.0

#: Seconds after that when a thread is left alone: it has had the time to ask on another connection
#: what has become of its transaction.
LEFT = LONGEST + 5.0

#: Seconds that one load, and one step of a commit, may take of a database that answers others.
LONGEST_LOAD = 30.0
LONGEST_STEP = 600.0


class Hanging:
    """Looks whether a database hangs."""

    def __init__(
        self, instances: Instances, follower: Follower, readers: Readers, writers: Writers
    ) -> None:
        self._name = instances.name
        self._loop = instances.loop
        self._connections = instances.connections
        self._follower = follower
        self._readers = readers
        self._writers = writers
        self._timer: Any = None
        self._is_cut = False

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.later(EVERY, self._look)

    def close(self) -> None:
        """End that."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.start()
        step, away = LONGEST_STEP, self._follower.away_for()
        if away > HUNG:
            step = HUNG
            self._connections.cut()
            if not self._is_cut:
                log.warning(
                    'storage %s: its database has not answered for %s: connections are cut',
                    self._name,
                    lasted(away),
                )
        self._is_cut = away > HUNG
        overdue = self._readers.overdue(LONGEST_LOAD) + self._writers.overdue(LONGEST_STEP)
        if overdue:
            self._connections.cut(overdue)
        self._writers.leave(step + LEFT)
