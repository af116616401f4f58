"""Runs jobs in processes of their own and gathers what they give, round by round, A B B A.

Every job gets an empty directory with a short path (socket paths are limited to about 100 bytes)
and its own process group, which is killed when the job is over, however it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

from support.processes import Process

from .catalogue import LIMIT, OURS, PEER, Row
from .environments import Implementation

#: Lines of what a failed job has printed that are shown: enough for the end of a traceback.
LAST_LINES = 12

Result = dict[str, Any]
Results = dict[str, dict[str, list[Result]]]  # job key -> implementation -> one per round


def run_job(implementation: Implementation, row: Row, quick: bool) -> Result:
    """Return the metrics of one run, or {'error': text} or {'skipped': text}; never raises.

    What it has printed last comes with an error, as 'said': a single line may be a mere warning.
    """
    command = ['-m', 'benchlib.worker', row.job, json.dumps(row.arguments(quick))]
    with tempfile.TemporaryDirectory(prefix='zb', ignore_cleanup_errors=True) as directory:
        process = Process(
            implementation.command(*command),
            env=implementation.environment(),
            cwd=directory,
            stdin=subprocess.PIPE,  # whose end tells the worker that its driver is gone
            start_new_session=True,
        )
        try:
            line = process.output.line(row.timeout)
        finally:
            kill_group(process.pid)
            process.close()
    result = json.loads(line) if line else {'error': f'gave no result; it had {row.timeout:g} s'}
    if 'error' in result:
        result['said'] = process.errors.seen.strip().splitlines()[-LAST_LINES:]
    return result


def kill_group(group: int) -> None:
    """Kill all processes of a group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def run_rounds(
    rows: list[Row],
    peer: Implementation,
    ours: Implementation,
    rounds: int,
    quick: bool,
    results: Results,
    say: Callable[[str], None],
) -> None:
    """Run every job of `rows` `rounds` times on each implementation, into `results`.

    The order is peer, ours, ours, peer, peer, ours, …, so that neither has the quieter machine.
    `results` is filled while it runs: what was measured before an interruption stays.
    """
    jobs: dict[str, Row] = {}
    for row in rows:
        jobs.setdefault(row.key(quick), row)
    for number in range(rounds):
        order = [(PEER, peer), (OURS, ours)][:: -1 if number % 2 else 1]
        for key, row in jobs.items():
            if number >= row.rounds:
                continue
            if number == 0:
                results[key] = {}
            for side, implementation in [(LIMIT, ours)] if row.limit else order:
                given = run_job(implementation, row, quick)
                if 'skipped' in given and row.limit:
                    given = run_job(peer, row, quick)
                results[key].setdefault(side, []).append(given)
                say(f'round {number + 1}  {row.name}  {side}  {_brief(given, row)}')


def _brief(result: Result, row: Row) -> str:
    for problem in ('error', 'skipped'):
        if problem in result:
            return '\n    '.join([f'{problem}: {result[problem]}', *result.get('said', ())])
    return f'{result[row.metric]:,.4g} {row.unit}'
