"""What a measurement costs: wall-clock time, CPU time of this process and of the server, memory.

In: process ids.  Out: seconds and bytes.  Fails with ProcessLookupError/OSError when the process
is gone, which makes the measurement fail, as it should.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

Metrics = dict[str, float]


def process_cpu(pid: int) -> float:
    """Return the CPU seconds a process has used, all its threads, the ended ones too.

    Linux gives every process a CPU clock in nanoseconds, whose number is made of the process id;
    /proc/<pid>/schedstat would count the main thread only, /proc/<pid>/stat ticks of 10 ms.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


class Meter:
    """Adds up what happens inside its ``with`` blocks.

    server_pid: the process whose CPU time counts as the server's, or None.
    """

    def __init__(self, server_pid: int | None = None):
        self.server_pid = server_pid
        self.seconds = self.client = self.server = 0.0
        self._marks = (0.0, 0.0, 0.0)

    def _now(self) -> tuple[float, float, float]:
        server = process_cpu(self.server_pid) if self.server_pid is not None else 0.0
        return time.perf_counter(), time.process_time(), server

    def __enter__(self) -> Meter:
        self._marks = self._now()
        return self

    def __exit__(self, *exc_info: object) -> None:
        wall, client, server = self._now()
        self.seconds += wall - self._marks[0]
        self.client += client - self._marks[1]
        self.server += server - self._marks[2]

    def per_operation(self, count: int) -> Metrics:
        """Return the metrics of `count` operations: rate per second, CPU microseconds of each."""
        metrics = {
            'rate': count / self.seconds,
            'count': count,
            'seconds': self.seconds,
            'client_us': self.client / count * 1e6,
        }
        if self.server_pid is not None:
            metrics['server_us'] = self.server / count * 1e6
        return metrics


def percentile(samples: list[float], percent: float) -> float:
    """Return the sample below which `percent` of all samples lie (nearest rank)."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
