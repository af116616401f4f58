"""Log lines that peers can cause at will: the first few are written, the rest is counted.

Enters: a line, with its kind and its source, such as a client's address. Leaves: the line in the
log; or, after enough lines of that kind from that source in the last seconds, one line at the end
that says how many there were. Fails: never; a line that cannot be written is dropped.

Everything runs in the thread of the loop whose timers are used. Texts of peers are quoted by
:mod:`ZEO.wire.quoting`, which keeps each short and in one line.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from ZEO.net.last_lines import LastLines
from ZEO.wire.quoting import cleaned, explained

log = logging.getLogger('ZEO.StorageServer')

#: Seconds after which the lines that were only counted are summed up, and counting starts again.
WINDOW = 10.0

#: Lines of one kind from one source in a window, and from all sources together.
FROM_ONE, FROM_ALL = 5, 50

#: The same for kinds of which many are normal, as when all clients connect again after a server's
#: restart.
_CROWDS = dict.fromkeys(('clients that connect', 'clients that disconnect'), (100, 500))

#: Sources that are counted separately in a window; the others are counted together.
MOST_SOURCES = 1000

#: Lines that sum up a window; one more sums up the rest.
MOST_SUMS = 10

#: Characters of one line, however many texts it quotes.
_LINE = 1000

_OTHERS = 'others'


class Reports:
    """The lines that were written and those that were only counted.

    :param later: calls a function after a number of seconds.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], Any]) -> None:
        self._later = later
        self.lines = LastLines()  # of the log, also those that others have written
        # (kind, source) -> lines in this window
        self._from_one: dict[tuple[str, str], int] = {}
        # kind -> lines that were written in it
        self._from_all: dict[str, int] = {}
        # (kind, source) -> lines not written, their level
        self._counted: dict[tuple[str, str], tuple[int, int]] = {}
        self._ends = False  # whether a timer runs that ends the window

    def write(self, level: int, kind: str, source: str, text: str, *args: Any) -> None:
        """Write a line, ``text % args``, or count it.

        :param kind: what such lines are about, in a few words, for the line that sums them up.
        :param source: who caused it; lines of one source do not keep those of others from the log.
        """
        if not log.isEnabledFor(level):
            return
        try:
            if self._may_write(kind, source, level):
                line = _line(text, args)
                log.log(level, '%s', line, extra={'kind': kind, 'source': source})
        except Exception:  # no memory, no disk: logging never ends what it reports on
            pass

    def failed(self, kind: str, source: str, error: BaseException) -> None:
        """Write an unexpected error, with the last lines of its traceback."""
        if not log.isEnabledFor(logging.ERROR):
            return
        try:
            if self._may_write(kind, source, logging.ERROR):
                line = f'{source}: {kind}: {explained(error)}'
                log.error('%s', f'{line}\n{_places(error)}', extra={'kind': kind, 'source': source})
        except Exception:  # as in write
            pass

    def _may_write(self, kind: str, source: str, level: int) -> bool:
        key = kind, source
        if key not in self._from_one and len(self._from_one) >= MOST_SOURCES:
            key = kind, _OTHERS
        number = self._from_one[key] = self._from_one.get(key, 0) + 1
        written = self._from_all.get(kind, 0)
        if not self._ends:
            self._ends = True
            self._later(WINDOW, self.sum_up)
        from_one, from_all = _CROWDS.get(kind, (FROM_ONE, FROM_ALL))
        if number <= from_one and written < from_all:
            self._from_all[kind] = written + 1
            return True
        self._counted[key] = self._counted.get(key, (0, 0))[0] + 1, level
        return False

    def sum_up(self) -> None:
        """End the window: write how many lines were not written."""
        counted, self._counted = self._counted, {}
        self._from_one, self._from_all, self._ends = {}, {}, False
        most = sorted(counted.items(), key=lambda entry: -entry[1][0])
        for (kind, source), (number, level) in most[:MOST_SUMS]:
            log.log(
                level,
                '%s: %d more lines in the last %.0f s about: %s',
                cleaned(source),
                number,
                WINDOW,
                cleaned(kind),
                extra={'kind': kind},
            )
        rest = most[MOST_SUMS:]
        if rest:
            log.log(
                max(level for _, (_, level) in rest),
                '%d other sources: %d more lines in the last %.0f s about the same',
                len(rest),
                sum(number for _, (number, _) in rest),
                WINDOW,
            )


def _line(text: str, args: tuple[Any, ...]) -> str:
    """Return one line that is not too long, whatever its parts are."""
    return cleaned(text % args if args else text, _LINE)


def _places(error: BaseException) -> str:
    """Return the last lines of a traceback, which hold no text of a peer."""
    return ''.join(traceback.format_tb(error.__traceback__)[-8:]).rstrip()
