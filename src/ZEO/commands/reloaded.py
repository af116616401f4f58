"""Levels of the log, limits and times of a running server, taken from its configuration again.

Enters: what the file says now, and what it said before. Leaves: a server that has the new values;
the changes as texts, and the names of those that only a restart can make. Fails: never.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ZEO.config.server import Settings
from ZEO.serving.limits import KEYS, Limits
from ZEO.serving.slow import SlowTimes
from ZEO.StorageServer import StorageServer

#: The keyword arguments of StorageServer that can be changed while it serves; what the rest of the
#: reload looks after.
_ELSEWHERE = frozenset(['access', 'ssl', 'password_file'])

_KEYS_OF_LIMITS = {limit: key.replace('_', '-') for key, limit in KEYS.items()}


class Reloaded:
    """The settings that a server runs with.

    :param settings: what it was started with.
    """

    def __init__(self, server: StorageServer, settings: Settings) -> None:
        self._server = server
        self._settings = settings  # as read last
        self._started = settings

    @property
    def stop_time(self) -> float:
        """Seconds that clients may take when the server stops."""
        return self._settings.stop_time

    def take(self, now: Settings) -> tuple[list[str], list[str]]:
        """Have the server use other settings; in the loop's thread.

        :returns: what has changed, and the names of what needs a restart.
        """
        before, self._settings = self._settings, now
        changed = [*_levels(now), *self._limits(before, now), *self._times(before, now)]
        restart = sorted(_need_restart(self._started, now))
        return changed, restart

    def _limits(self, before: Settings, now: Settings) -> Iterator[str]:
        old, new = (found.options.get('limits', Limits()) for found in (before, now))
        if old != new:
            self._server.use_limits(new)
            yield from _differences(asdict(old), asdict(new), _KEYS_OF_LIMITS)

    def _times(self, before: Settings, now: Settings) -> Iterator[str]:
        old, new = (found.options.get('slow', SlowTimes()) for found in (before, now))
        timeouts = [found.options.get('transaction_timeout', 30.0) for found in (before, now)]
        self._server.use_times(new, timeouts[1])
        names = {name: f'slow-{name}' for name in asdict(new)}
        yield from _differences(asdict(old), asdict(new), names)
        if timeouts[0] != timeouts[1]:
            yield f'transaction-timeout: {timeouts[1] or 0:g} (was {timeouts[0] or 0:g})'
        if before.stop_time != now.stop_time:
            yield f'stop-time: {now.stop_time:g} (was {before.stop_time:g})'


def _differences(old: dict[str, Any], new: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    for name, value in new.items():
        if value != old[name]:
            yield f'{names.get(name, name)}: {_number(value)} (was {_number(old[name])})'


def _number(value: float) -> str:
    return f'{value:g}' if value < 100_000 else f'{value:,.0f}'


def _levels(now: Settings) -> Iterator[str]:
    """Give loggers the levels that their sections have now."""
    for section in now.loggers:
        logger = logging.getLogger(getattr(section, 'name', None))
        level = getattr(section, 'level', logger.level)
        if logger.handlers and level != logger.level:
            old, new = logging.getLevelName(logger.level), logging.getLevelName(level)
            logger.setLevel(level)
            yield f'level of the log {logger.name}: {new} (was {old})'


def _need_restart(before: Settings, now: Settings) -> Iterator[str]:
    """Yield the keys whose values are others now, and that are read at the start only."""
    if before.addresses != now.addresses:
        yield 'address'
    if before.pid_file != now.pid_file:
        yield 'pid-filename'
    if before.log_format != now.log_format:
        yield 'log-format'
    if _storages(before) != _storages(now):
        yield 'storages'
    live = {'limits', 'slow', 'transaction_timeout'} | _ELSEWHERE
    for name in {*before.options, *now.options} - live:
        if before.options.get(name) != now.options.get(name):
            yield name.replace('_', '-')


def _storages(settings: Settings) -> dict[str, str]:
    return {name: factory.kind for name, factory in settings.storages.items()}
