"""runzeo on a disk whose syncs take longer: ``slow_disk.py SECONDS SWITCHES-OF-RUNZEO``.

Enters: how long each takes, in seconds, unless the disk takes longer. Leaves: as runzeo does.
Fails: as runzeo does.
"""

from __future__ import annotations

import os
import runpy
import sys
import time


def slow(seconds: float) -> None:
    """Have each sync of a file take that long; before anything has looked up os.fsync."""
    fsync = os.fsync

    def slow_fsync(fd: int) -> None:
        end = time.perf_counter() + seconds
        fsync(fd)
        time.sleep(max(0.0, end - time.perf_counter()))

    os.fsync = slow_fsync  # type: ignore[assignment]


if __name__ == '__main__':
    del sys.path[0]  # this directory
    slow(float(sys.argv.pop(1)))
    runpy.run_module('ZEO.runzeo', run_name='__main__', alter_sys=True)
