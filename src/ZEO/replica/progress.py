"""How far a replica is: for the status, for the log, and on a terminal.

Enters: what happens while it follows. Leaves: figures; log lines; while it copies what there was
before, a line on standard error where that is a terminal. Fails: never.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from persistent.TimeStamp import TimeStamp
from ZODB.utils import z64

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.system import System
from ZEO.progress import Progress as Line
from ZEO.replica.errors import NotFollowed
from ZEO.replica.primary import Primary
from ZEO.serving.moments import iso

log = logging.getLogger('ZEO.replica')

COPYING, FOLLOWING, DISCONNECTED, REFUSED, PROMOTED = (
    'copying following disconnected refused promoted'.split()
)

#: Seconds between two lines about a copy that takes long.
_SAY_EVERY = 10.0


class Progress:
    """The state of following, and figures.

    :param storage: the replica.
    """

    def __init__(self, storage: Any, system: System) -> None:
        self._storage = storage
        self._system = system
        self.state = DISCONNECTED
        self.error: str | None = None
        self._since: float | None = None  # when it connected, by the wall clock
        self._where: str | None = None
        self.copied_bytes = self._transactions = 0
        self._no_blobs = 0
        self._said = system.now()
        self._said_bytes = 0
        self._line: Line | None = None  # on a terminal

    # What happens.

    def connected(self, primary: Primary) -> None:
        """The primary has been reached, and its history is that of the replica."""
        self.state, self.error = COPYING, None
        self._since = self._system.wall_clock()
        self._where = primary.where
        self._said, self._said_bytes = self._system.now(), self.copied_bytes
        if sys.stderr is not None and sys.stderr.isatty():
            self._line = Line(f'copy of {primary.where}', primary.size(), system=self._system)
        log.info(
            '%s: follows %s from transaction %s on',
            self._storage.getName(),
            primary.where,
            self._storage.lastTransaction().hex(),
        )

    def copied(self, size: int, transactions: int, records: int) -> None:
        """A group of transactions is in the file."""
        self.copied_bytes += size
        self._transactions += transactions
        line = self._line
        if line is not None:
            line.bytes += size
            line.transactions += transactions
            line.records += records
            line.show()
        now = self._system.now()
        if self.state == COPYING and now >= self._said + _SAY_EVERY:
            speed = (self.copied_bytes - self._said_bytes) / 1e6 / (now - self._said)
            self._said, self._said_bytes = now, self.copied_bytes
            log.info(
                '%s: has copied up to transaction %s, %.0f MB, at %.1f MB/s',
                self._storage.getName(),
                self._storage.lastTransaction().hex(),
                self._storage.getSize() / 1e6,
                speed,
            )

    def no_blob(self, oid: bytes, tid: bytes) -> None:
        """The primary does not have the file of a blob."""
        self._no_blobs += 1
        if self._no_blobs == 1:
            log.warning(
                '%s: the primary has no file for revision %s of blob %s; others like that are '
                'counted in the status only',
                self._storage.getName(),
                tid.hex(),
                oid.hex(),
            )

    def has_all(self) -> None:
        """There is nothing more to copy for now."""
        self._end_line()
        if self.state == COPYING:
            self.state = FOLLOWING
            log.info(
                '%s: has everything up to transaction %s of %s',
                self._storage.getName(),
                self._storage.lastTransaction().hex(),
                self._where,
            )

    def failed(self, error: BaseException) -> None:
        """Following has ended with an error."""
        self._end_line()
        text = str(error) or type(error).__name__
        state = REFUSED if isinstance(error, NotFollowed) else DISCONNECTED
        self._since = None
        if (state, text) == (self.state, self.error):
            return
        self.state, self.error = state, text
        if isinstance(error, (NotFollowed, ClientDisconnected, OSError)):
            level = logging.ERROR if state == REFUSED else logging.WARNING
            log.log(level, '%s: does not follow: %s', self._storage.getName(), text)
        else:
            log.error('%s: does not follow', self._storage.getName(), exc_info=error)

    def _end_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    # What there is to say.

    def report(self, primary: Primary | None) -> dict[str, Any]:
        """Return the figures; None stands for what is not known."""
        last = self._storage.lastTransaction()
        known = primary if self._since is not None else None
        return {
            'state': self.state,
            'connected-to': None if self._since is None else self._where,
            'since': None if self._since is None else iso(self._since),
            'error': self.error,
            'last-transaction': last.hex(),
            'copied-transactions': self._transactions,
            'copied-bytes': self.copied_bytes,
            'blobs-without-file': self._no_blobs,
            **self._lag(known, last),
        }

    def _lag(self, primary: Primary | None, last: bytes) -> dict[str, Any]:
        if primary is None:
            return {'lag-transactions': None, 'lag-seconds': None, 'lag-bytes': None}
        newest = primary.newest()
        if newest <= last:
            return {'lag-transactions': 0, 'lag-seconds': 0.0, 'lag-bytes': 0}
        return {
            'lag-transactions': None if self.state == COPYING else primary.heard.after(last),
            'lag-seconds': None if last == z64 else _seconds(last, newest),
            # what a pack has removed on one side only is not counted
            'lag-bytes': max(0, primary.size() - self._storage.getSize()),
        }


def _seconds(earlier: bytes, later: bytes) -> float:
    return round(max(0.0, TimeStamp(later).timeTime() - TimeStamp(earlier).timeTime()), 3)
