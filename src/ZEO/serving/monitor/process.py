"""Figures of this process.

Enters: nothing but the process itself. Leaves: numbers; None for one that this system does not say.
Fails: never.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ZEO.net.system import System
from ZEO.serving.descriptors import most_files


def cpu_seconds() -> float:
    """Return the seconds of processor time that all threads have used."""
    times = os.times()
    return times.user + times.system


def open_files() -> int | None:
    """Return how many file descriptors are open."""
    with suppress(OSError):
        # since Linux 6.2 the size says it; before, and elsewhere, it is 0 or something else
        size = os.stat('/proc/self/fd').st_size
        return size or len(os.listdir('/proc/self/fd'))
    return None


def start_time(system: System) -> float | None:
    """Return when the process has started, in seconds since the epoch."""
    try:
        with open('/proc/self/stat', 'rb') as file:
            ticks = int(file.read().rpartition(b')')[2].split()[19])  # since the machine's start
        with open('/proc/uptime', 'rb') as file:
            up = float(file.read().split()[0])
        return system.wall_clock() - up + ticks / os.sysconf('SC_CLK_TCK')
    except (OSError, ValueError, IndexError):
        return None


__all__ = ['cpu_seconds', 'most_files', 'open_files', 'start_time']
