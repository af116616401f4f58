"""Log lines as JSON, one object on each line, for programs that collect logs.

Enters: events of Python's ``logging``. Leaves: lines. Fails: never; what JSON has no form for is
written as a text.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

#: What every event has, and is written under another name or of no use to readers.
_USUAL = frozenset(
    [*vars(logging.makeLogRecord({})), 'message', 'asctime', 'taskName'],
)


class JsonLines(logging.Formatter):
    """Formats every event as an object: ``time``, ``level``, ``logger``, ``message``, ``process``;
    ``exception`` where there is one; and what the code has added to the event.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, Any] = {
            'time': moment.isoformat(timespec='milliseconds'),
            'level': record.levelname,
            'logger': record.name,
            'message': record.getMessage(),
            'process': record.process,
        }
        if record.exc_info:
            line['exception'] = self.formatException(record.exc_info)
        added = {name: value for name, value in vars(record).items() if name not in _USUAL}
        return json.dumps({**added, **line}, default=str)


def use_json(loggers: Iterable[logging.Logger]) -> None:
    """Have everything that these loggers' handlers write be JSON."""
    for logger in loggers:
        for handler in logger.handlers:
            handler.setFormatter(JsonLines())
