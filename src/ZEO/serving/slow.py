"""What takes long: a line in the log for each, with where the time went, and the last ones kept.

Enters: the ends of commits, packs, and calls that were made in another thread. Leaves: lines in the
log; entries for the status. Fails: never.

What is answered at once, such as a load from a FileStorage, is not timed: that would cost each load
more than it is worth. Where such calls take long, the whole loop does, which
:mod:`ZEO.commands.watching` notices.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ZEO.serving.moments import iso, lasted
from ZEO.wire.calls import Does, Method

if TYPE_CHECKING:
    from ZEO.serving.commit.state import Commit

#: Entries that are kept for the status, the last ones.
KEPT = 50


@dataclass(frozen=True)
class SlowTimes:
    """Seconds from which something is worth a line; 0: never."""

    #: From the vote to the end: a user of a website notices a second.
    commit: float = 1.0

    #: Of a load, or another call that reads, which was made in another thread.
    load: float = 1.0

    #: A pack of some gigabytes takes minutes.
    pack: float = 600.0


class SlowLog:
    """What was slow in one storage.

    :param name: of the storage.
    :param wall_clock: says the seconds since the epoch.
    """

    def __init__(self, name: str, times: SlowTimes, wall_clock: Callable[[], float]) -> None:
        self.times = times
        self._name = name
        self._wall_clock = wall_clock
        self._last: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def entries(self) -> list[dict[str, Any]]:
        """Return the last ones, the newest first."""
        return list(reversed(self._last))

    # What has ended.

    def commit(self, commit: Commit, now: float) -> None:
        """A transaction gives back the commit lock, or the wish for it."""
        asked = commit.asked
        if asked and 0 < self.times.commit <= now - asked:
            parts = commit.parts(now)
            how = 'committed' if commit.error is None and commit.finishing else 'given up'
            self._note('commit', commit.peer, now - asked, parts, f'{len(commit.changed)} objects')
            commit.peer.report(
                logging.WARNING,
                'slow commits',
                'slow commit of %d objects to storage %s, %s after %s: %s',
                len(commit.changed),
                self._name,
                how,
                lasted(now - asked),
                _shown(parts),
            )

    def call(self, method: Method, client: Any, total: float, in_queue: float | None) -> None:
        """A call was answered that was made in another thread.

        :param total: seconds from its arrival to its answer.
        :param in_queue: seconds of these until a thread began with it; None where that is unknown.
        """
        if method.does is not Does.READS or not 0 < self.times.load <= total:
            return
        parts = {'queue': in_queue or 0.0, 'storage': total - (in_queue or 0.0)}
        if in_queue is None:
            parts = {'storage': total}
        self._note('load', client, total, parts, method.name)
        client.report(
            logging.WARNING,
            'slow calls',
            'slow %s of storage %s, answered after %s: %s',
            method.name,
            self._name,
            lasted(total),
            _shown(parts),
        )

    def pack(self, client: Any, seconds: float) -> None:
        """A pack has ended, of which there is a line in the log anyway."""
        if 0 < self.times.pack <= seconds:
            self._note('pack', client, seconds, {'storage': seconds}, '')

    def loop(self, seconds: float) -> None:
        """Nothing was served for this long, since one call took all the time."""
        self._note('loop', 'server', seconds, {'storage': seconds}, '')

    def _note(
        self, kind: str, client: Any, seconds: float, parts: dict[str, float], what: str
    ) -> None:
        self._last.append(
            {
                'time': iso(self._wall_clock()),
                'kind': kind,
                'client': str(client),
                'seconds': round(seconds, 3),
                'parts': {name: round(part, 3) for name, part in parts.items()},
                'what': what,
            }
        )


def _shown(parts: dict[str, float]) -> str:
    return ', '.join(f'{name} {lasted(seconds)}' for name, seconds in parts.items())
