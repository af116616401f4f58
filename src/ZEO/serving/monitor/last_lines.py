"""The last warnings and errors in the log of this process.

Enters: what is logged below the logger ``ZEO``, in any thread. Leaves: the last lines, each short,
and how many there were of each level. Fails: never; a line that has no text is shown as that.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import Any, NamedTuple

from ZEO.serving.moments import iso
from ZEO.wire.quoting import cleaned

#: Lines that are kept, and characters of each.
MOST_LINES, MOST_CHARACTERS = 30, 300

#: The levels that are counted, the least one first.
LEVELS = {logging.WARNING: 'warning', logging.ERROR: 'error'}


class Line(NamedTuple):
    """One line."""

    number: int  # counted from 1
    at: str
    level: str
    text: str


class LastLines(logging.Handler):
    """Keeps them from :meth:`open` to :meth:`close`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger('ZEO')
        self._lines: deque[Line] = deque(maxlen=MOST_LINES)
        self.counts: Counter[str] = Counter(dict.fromkeys(LEVELS.values(), 0))

    def open(self) -> None:
        """Begin to listen."""
        self._logger.addHandler(self)

    def close(self) -> None:
        """Listen no more."""
        self._logger.removeHandler(self)
        super().close()

    def last(self) -> list[Line]:
        """Return the last lines, the oldest first. Threads may log meanwhile, so it is a copy."""
        return list(self._lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; called with the handler's lock held."""
        level = LEVELS[logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING]
        self.counts[level] += 1
        if str(getattr(record, 'kind', '')).startswith('slow '):  # shown with its storage
            return
        text = cleaned(_first_line(record), MOST_CHARACTERS)
        self._lines.append(Line(self.counts.total(), iso(record.created), level, text))


def _first_line(record: logging.LogRecord) -> Any:
    """Return the line without a traceback."""
    try:
        return record.getMessage().partition('\n')[0]
    except Exception:  # arguments that do not fit: logging itself reports that
        return record.msg
