"""One measurement in one process: ``python -m benchlib.worker JOB '{json parameters}'``.

Runs in the implementation's Python, in an empty working directory.  Prints one line of JSON: the
metrics, or {"error": text}, or {"skipped": text}.  Ends with its whole process group when standard
input closes, that is when the driver is gone.  ``--role ROLE`` makes it a child of a measurement.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

import ZODB  # noqa: F401  whose absence is an error here

from .catalogue import JOBS, ROLES
from .children import Stage
from .limits import Unavailable


def end_with_the_driver() -> None:
    """Kill this process group when standard input ends."""

    def watch() -> None:
        sys.stdin.read()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def stay_on(cores: int) -> None:
    """Keep this process and its children on so many processor cores.

    On one core client and server never wait for another core to wake up, so that the rate shows
    the work alone; on several, the scheduler's choice makes rates jump by a factor of two.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def run_job(name: str, parameters: dict) -> dict:
    """Return what the job gives, or why it gave nothing."""
    try:
        if 'cores' in parameters:
            stay_on(parameters.pop('cores'))
        return JOBS[name](**parameters)
    except Unavailable as missing:
        return {'skipped': str(missing)}
    except Exception as error:  # any failure is a result: the driver shows it and goes on
        sys.excepthook(*sys.exc_info())
        return {'error': f'{type(error).__name__}: {error}'}


def main(argv: list[str]) -> None:
    """Run a job or a role."""
    if argv[0] == '--role':
        parameters = json.loads(argv[2])
        if isinstance(parameters['address'], list):
            parameters['address'] = tuple(parameters['address'])
        ROLES[argv[1]](Stage(), **parameters)
        return
    end_with_the_driver()
    result = run_job(argv[0], json.loads(argv[1]))
    print(json.dumps(result), flush=True)
    sys.stderr.flush()
    os._exit(0)  # threads that an implementation left behind do not hold us


if __name__ == '__main__':
    main(sys.argv[1:])
