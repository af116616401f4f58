"""The last warnings and errors in the log of this process.

Enters: what is logged below the logger ``ZEO``, in any thread. Leaves: the last lines, each short,
and how many there were of each level. Fails: never; a line that has no text is shown as that.

One handler serves all servers of the process. It knows them weakly, so that it keeps none alive
that was never closed.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import Any, NamedTuple
from weakref import WeakSet

from ZEO.wire.quoting import cleaned

#: Lines that are kept, and characters of each.
MOST_LINES, MOST_CHARACTERS = 50, 1000

#: The levels that are counted, the least one first.
LEVELS = {logging.WARNING: 'warning', logging.ERROR: 'error'}


class Line(NamedTuple):
    """One line."""

    number: int  # counted from 1
    when: float  # seconds since the epoch
    level: int  # WARNING or ERROR
    text: str


class LastLines:
    """The lines that were logged since :meth:`open`."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=MOST_LINES)
        self.counts: Counter[str] = Counter(dict.fromkeys(LEVELS.values(), 0))

    def open(self) -> None:
        """Begin to listen."""
        _HANDLER.add(self)

    def close(self) -> None:
        """Listen no more."""
        _HANDLER.discard(self)

    def last(self) -> list[Line]:
        """Return the last lines, the oldest first. Threads may log meanwhile, so it is a copy."""
        return list(self._lines)

    def take(self, record: logging.LogRecord) -> None:
        """Count a line, and keep it; called by one thread at a time."""
        level = logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
        self.counts[LEVELS[level]] += 1
        if str(getattr(record, 'kind', '')).startswith('slow '):  # shown with its storage
            return
        text = cleaned(_first_line(record), MOST_CHARACTERS)
        self._lines.append(Line(self.counts.total(), record.created, level, text))


def _first_line(record: logging.LogRecord) -> Any:
    """Return the line without a traceback."""
    try:
        return record.getMessage().partition('\n')[0]
    except Exception:  # arguments that do not fit: logging itself reports that
        return record.msg


class _Handler(logging.Handler):
    """Gives lines to those who listen; it stays once it was needed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger('ZEO')
        self._listening: WeakSet[LastLines] = WeakSet()

    def add(self, lines: LastLines) -> None:
        """Give lines to this one, too."""
        with self.lock:  # type: ignore[union-attr]
            self._listening.add(lines)
        self._logger.addHandler(self)  # again, if a configuration of logging has removed it

    def discard(self, lines: LastLines) -> None:
        """Give it no more lines."""
        with self.lock:  # type: ignore[union-attr]
            self._listening.discard(lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Give a line to all; called with the handler's lock held."""
        try:
            for lines in list(self._listening):
                lines.take(record)
        except Exception:  # no memory: who logs goes on, as with every handler
            self.handleError(record)
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and self._is_alone(record.name):
            last.handle(record)  # as without this handler, for programs that set up no logging

    def _is_alone(self, name: str) -> bool:
        """Return whether no other handler gets what is logged under a name."""
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


_HANDLER = _Handler()
