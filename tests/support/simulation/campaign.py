"""Runs many histories, in several processes, and reports those that are not right.

Enters: the options of ``scripts/simulate.py``. Leaves: lines on standard output, a file for each
plan that fails. Fails: with what a worker process raises, which is a fault of the simulator.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from support.simulation import objects
from support.simulation.plan import Plan
from support.simulation.planning import plan_of
from support.simulation.report import reported
from support.simulation.shrink import Shrinking, size
from support.simulation.simulate import Outcome, run

#: Plans that a worker takes at once.
_AT_ONCE = 20

#: Seconds between two lines about the progress.
_PROGRESS = 60.0


def main(options: Any) -> int:
    """Run the histories that the options name; return the exit status."""
    started, told = time.monotonic(), time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[int] = []
    seeds: Any = range(options.first, options.first + options.histories)
    if options.having:
        seeds = [seed for seed in seeds if plan_of(seed).has_kind(options.having)]
    for some, failed in _batches(seeds, options):
        counts.update(some)
        for seed in failed[: options.failures - len(failures)]:
            failures.append(seed)
            _show_smallest(plan_of(seed), options.keep, options.tries)
        if time.monotonic() > told + _PROGRESS:
            told = time.monotonic()
            print(summary(counts, len(failures), told - started), flush=True)
        if len(failures) >= options.failures:
            print(f'stopped after {len(failures)} histories that are not right')
            break
    print(summary(counts, len(failures), time.monotonic() - started), flush=True)
    return 1 if failures else 0


def _batches(seeds: Sequence[int], options: Any) -> Iterator[tuple[Counter[str], list[int]]]:
    """Run plans; yield the counts and the seeds that have failed, some at a time."""
    until = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    parts = [seeds[start : start + _AT_ONCE] for start in range(0, len(seeds), _AT_ONCE)]
    for has_blobs in (False, True):
        objects.image(has_blobs)
    gc.collect()
    gc.freeze()  # what is there now stays: no collection has to look at it
    run_part = partial(run_some, losses=options.having == 'losses')
    if options.jobs == 1:
        for part in parts:
            if until is not None and time.monotonic() > until:
                return
            yield run_part(part)
        return
    with multiprocessing.get_context('fork').Pool(options.jobs) as pool:
        for found in pool.imap(run_part, parts):
            yield found
            if until is not None and time.monotonic() > until:
                pool.terminate()
                return


def run_some(seeds: Sequence[int], losses: bool = True) -> tuple[Counter[str], list[int]]:
    """Run some plans; return the counts and the seeds that have failed.

    :param losses: whether those are run in which commits may be lost with a primary.
    """
    counts: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        plan = plan_of(seed)
        if not losses and plan.has_kind('losses'):
            continue
        outcome = run(plan)
        counts.update(outcome.counts)
        counts['histories'] += 1
        if outcome.anomalies:
            failed.append(seed)
    return counts, failed


def summary(counts: Counter[str], failures: int, seconds: float) -> str:
    """Return one line about what was run."""
    faults = ', '.join(
        f'{number:,} {kind.removeprefix("fault ")}'
        for kind, number in sorted(counts.items())
        if kind.startswith('fault ')
    )
    return (
        f'{counts["histories"]:,} histories in {seconds:.0f} s: {counts["committed"]:,} commits, '
        f'{counts["conflict"]:,} conflicts, {counts["unknown"]:,} unknown outcomes, '
        f'{counts["read"]:,} transactions that only read; faults: {faults or "none"}; '
        f'{failures} not right'
    )


def show(seed: int | None, file: str | None) -> int:
    """Run one plan, and show everything; return the exit status."""
    plan = plan_of(seed) if seed is not None else Plan.from_json(Path(file or '').read_text())
    outcome = run(plan)
    print(reported(outcome))
    return 1 if outcome.anomalies else 0


def _show_smallest(plan: Plan, directory: str, tries: int) -> None:
    """Make a plan that fails smaller; show and keep it."""
    outcome = smallest(run(plan), tries)
    path = os.path.join(directory, f'plan-{plan.seed}.json')
    Path(path).write_text(outcome.plan.json() + '\n')
    print(f'The history of seed {plan.seed} is not right. A smaller one, in {path}:')
    print(reported(outcome))
    print(
        f'Once more: scripts/simulate.py --seed {plan.seed}, or the smaller one: '
        f'scripts/simulate.py --plan {path}\n',
        flush=True,
    )


def smallest(outcome: Outcome, most_runs: int) -> Outcome:
    """Return the outcome of a smaller plan with an anomaly of the same kind; the given one, if none
    is found.

    :param most_runs: how many plans are tried.
    """
    kinds = {anomaly.kind for anomaly in outcome.anomalies}
    found = [outcome]

    def fails(plan: Plan) -> bool:
        tried = run(plan)
        if not kinds & {anomaly.kind for anomaly in tried.anomalies}:
            return False
        found.append(tried)
        return True

    Shrinking(fails, most_runs).smallest(outcome.plan)
    return min(found, key=lambda one: size(one.plan))
