"""Says, from a thread of its own, that the loop of a running server stands still.

Enters: a server, and the supervisor of its process. Leaves: while one call keeps the loop, lines in
the log, a text for the supervisor, and answers to who asks the monitor. Fails: never.

A disk that does not finish a sync or a read keeps the loop, where that is done in its thread. With
a thread for each sync, a commit to a file in memory would take a quarter longer. A call that is at
work in C and does not let go of the interpreter keeps this thread as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ZEO.net.notifications import Supervisor
from ZEO.net.system import REAL
from ZEO.serving.moments import lasted
from ZEO.StorageServer import StorageServer

log = logging.getLogger('ZEO.runzeo')

#: Seconds between two looks.
EVERY = 1.0

#: Looks at which the loop has to stand before this is said. Their number counts, not the time: a
#: process that was stopped for a while, with all its threads, does not hang.
LOOKS = 10

#: Seconds between two rounds of answers while it stands.
ANSWERS_EVERY = 0.1

#: Seconds between two texts for the supervisor.
STATUS_EVERY = 10.0

#: Functions that are named of those in which the loop is, the innermost ones.
MOST_FUNCTIONS = 4

#: What it waits for most likely, by functions that may take long.
LIKELY = {
    'tpc_finish': 'its disk has not finished the sync of a transaction',
    'tpc_vote': 'its disk has not taken the records of a transaction',
    'loadBefore': 'its disk has not answered a read',
}


class Standstill:
    """Looks at `server` while it serves."""

    def __init__(self, server: StorageServer, supervisor: Supervisor) -> None:
        self._server = server
        self._supervisor = supervisor
        self._beats = 0  # how often the loop has shown that it goes on
        self._thread = 0  # the number of the loop's thread, once it has
        self._ended = REAL.event()

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Look, inside."""
        self._server.post(self._beat)
        try:
            REAL.spawn('ZEO standstill', self._watch)
        except RuntimeError as error:
            log.warning('no thread can be started to notice that the loop stands still: %s', error)
        try:
            yield
        finally:
            self._ended.set()

    def _beat(self) -> None:
        self._server.later(EVERY, self._beat)  # first, whatever the rest raises
        self._thread = REAL.this_thread()
        self._beats += 1

    # In the thread.

    def _watch(self) -> None:
        beats, looks = 0, 0
        while not self._ended.wait(EVERY):
            looks = looks + 1 if self._beats == beats else 0
            beats = self._beats
            if beats and looks >= LOOKS:
                self._stands(beats, LOOKS * EVERY)
                looks = 0

    def _stands(self, beats: int, before: float) -> None:
        """Say so until the loop goes on.

        :param before: seconds for which it has stood already.
        """
        began = REAL.now() - before
        self._log(logging.ERROR, self._text(before))
        status_due = 0.0
        while self._beats == beats and not self._ended.wait(ANSWERS_EVERY):
            now = REAL.now()
            text = self._text(now - began)
            if now >= status_due:
                status_due = now + STATUS_EVERY
                self._supervisor.status(text, patience=0)
            self._server.monitor.stand_in(text)
        if self._beats != beats:
            seconds = lasted(REAL.now() - began)
            self._log(logging.WARNING, f'clients are served again, after {seconds}')

    def _text(self, seconds: float) -> str:
        calls = REAL.calls_of(self._thread)
        names = [name for name, _ in calls]
        likely = next((LIKELY[name] for name in names if name in LIKELY), 'the reason is not known')
        where = ', called by '.join(f'{name} ({place})' for name, place in calls[:MOST_FUNCTIONS])
        return (
            f'no client is served: one call takes {lasted(seconds)} by now: {likely}; it is in '
            f'{where}'
        )

    def _log(self, level: int, text: str) -> None:
        """Write a line, in a thread of its own: the file of the log may be on the same disk."""
        try:
            REAL.spawn('ZEO log of a standstill', log.log, level, '%s', text)
        except RuntimeError:  # no thread can be started: the monitor says it
            pass
