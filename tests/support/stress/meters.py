"""Memory, files and threads of processes over time.

Enters: numbers of processes, by name. Leaves: for each the slope of each figure. Fails: never; a
process that has ended is not measured any more.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable

#: Seconds between two looks.
EVERY = 0.5

#: KB; open files; threads.
FIGURES = 'memory', 'files', 'threads'


def measured(pid: int) -> tuple[float, float, float] | None:
    """Return the figures of one process; None when it has ended."""
    try:
        with open(f'/proc/{pid}/statm') as file:
            pages = int(file.read().split()[1])
        files = len(os.listdir(f'/proc/{pid}/fd'))
        threads = len(os.listdir(f'/proc/{pid}/task'))
    except (OSError, IndexError):
        return None
    return pages * os.sysconf('SC_PAGE_SIZE') / 1024, files, threads


class Meters:
    """Looks at processes in a thread, until :meth:`stop`.

    :param processes: returns the numbers of those that run now, by name.
    """

    def __init__(self, processes: Callable[[], dict[str, int]]) -> None:
        self._processes = processes
        self._seen: dict[tuple[str, int], list[tuple[float, ...]]] = defaultdict(list)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(EVERY):
            for name, pid in self._processes().items():
                figures = measured(pid)
                if figures is not None:
                    self._seen[name, pid].append((time.monotonic(), *figures))

    def stop(self) -> dict[str, dict[str, list[float]]]:
        """Return, for each process that was not replaced, each figure as [first, last, slope per
        minute]; the first third of the time, in which caches fill, does not count.
        """
        self._done.set()
        self._thread.join()
        found = {}
        for (name, pid), rows in self._seen.items():
            rows = rows[len(rows) // 3 :]
            if self._processes().get(name) == pid and len(rows) > 4:
                found[name] = {
                    figure: _trend([row[0] for row in rows], [row[place] for row in rows])
                    for place, figure in enumerate(FIGURES, 1)
                }
        return found


def _trend(times: list[float], values: list[float]) -> list[float]:
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((one - middle) ** 2 for one in times)
    steep = sum((one - middle) * (value - mean) for one, value in zip(times, values, strict=True))
    return [values[0], values[-1], round(60 * steep / spread, 2) if spread else 0.0]
