"""Where the events of a server's process are logged, and in which form.

Enters: a level, or what a configuration file says. Leaves: log handlers of Python's ``logging``.
Fails: :class:`ConfigurationError` when a log file cannot be opened.
"""

from __future__ import annotations

import logging
import os
import platform

from ZEO.commands.json_lines import JsonLines, use_json
from ZEO.config.datatypes import JSON
from ZEO.config.opening import one_line, start_error
from ZEO.config.server import Settings
from ZEO.version import version

log = logging.getLogger('ZEO.runzeo')


class OneLine(logging.Formatter):
    """Formats every event as one line, including tracebacks and texts from clients."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return ' | '.join(super().format(record).splitlines())


def log_to_standard_error(level: int, form: str = 'text') -> None:
    """Write events of this level and above to standard error, unless the program has set up
    logging itself.

    :param form: ``'text'``, or ``'json'`` for one object on each line.
    """
    handler = logging.StreamHandler()
    text = OneLine('%(asctime)s %(levelname)s %(name)s %(message)s')
    handler.setFormatter(JsonLines() if form == JSON else text)
    logging.basicConfig(level=level, handlers=[handler])


def log_as_configured(settings: Settings) -> None:
    """Log as configured, or to standard error where nothing is configured.

    :raises ConfigurationError: when a log file cannot be opened.
    """
    if not settings.has_eventlog:
        log_to_standard_error(logging.INFO, settings.log_format)
    loggers = []
    for configure in settings.loggers:
        try:
            loggers.append(configure())
        except OSError as error:
            raise start_error(f'cannot open the log: {one_line(error)}', error) from None
    if settings.log_format == JSON:
        use_json(loggers)


def log_start() -> None:
    """Write the first line of a start: which program and process this is."""
    log.info(
        'ZEO %s starts as process %d, with Python %s',
        version(),
        os.getpid(),
        platform.python_version(),
    )
