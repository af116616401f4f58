"""Clients under stress that are forked from another one.

Enters: a worker. Leaves: a child process with the same client storage, which works for a while, and
ends with status 0. Fails: with a traceback and status 1.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Any


def fork(worker: Any, number: int) -> int:
    """Fork a child that goes on as a client of its own for a while; return its number."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(60)
        worker.manager.abort()
        child = type(worker)(worker.options, f'{worker.name}f{number}')
        child.storage, child.manager = worker.storage, worker.manager
        child.connection, child._finish = worker.connection, worker._finish
        child.storage.tpc_finish = child._finishing
        for _ in range(5):
            child._ping()
            child._attempt(child.move)
            child._attempt(child.append)
        status = 0
    except BaseException:  # nothing of the parent's may run here
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
