"""Runs jobs in processes of their own and gathers what they give, round by round, A B B A.

Every job gets an empty directory with a short path (socket paths are limited to about 100 bytes)
and its own process group, which is killed when the job is over, however it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .catalogue import LIMIT, OURS, PEER, Row
from .environments import Implementation

Result = dict[str, Any]
Results = dict[str, dict[str, list[Result]]]  # job key -> implementation -> one per round


def run_job(implementation: Implementation, row: Row, quick: bool) -> Result:
    """Return the metrics of one run, or {'error': text} or {'skipped': text}; never raises."""
    directory = tempfile.mkdtemp(prefix='zb')
    try:
        with open(os.path.join(directory, 'err'), 'wb') as errors:
            process = subprocess.Popen(
                implementation.command(
                    '-m', 'benchlib.worker', row.job, json.dumps(row.arguments(quick))
                ),
                env=implementation.environment(),
                cwd=directory,
                text=True,
                stderr=errors,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        return _collect(process, row, Path(directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _collect(process: subprocess.Popen[str], row: Row, directory: Path) -> Result:
    assert process.stdout is not None and process.stdin is not None
    timer = threading.Timer(row.timeout, _kill_group, [process.pid])
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
        _kill_group(process.pid)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    if line:
        return json.loads(line)
    words = (directory / 'err').read_text(errors='replace').strip().splitlines()
    return {'error': words[-1] if words else f'gave nothing within {row.timeout:g} s'}


def _kill_group(group: int) -> None:
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
            return f'{problem}: {result[problem]}'
    return f'{result[row.metric]:,.4g} {row.unit}'
