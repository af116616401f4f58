"""Rounds: a new site, disturbances drawn from a seed, the verdict.

Enters: a directory, options, seconds. Leaves: an :class:`Outcome`; its directory stays when
something is wrong. Fails: never by what it finds.
"""

from __future__ import annotations

import random
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from support.stress.disturbances import ALL, Disturbance
from support.stress.meters import Meters
from support.stress.site import Options, Site
from support.stress.verdict import verdict

#: Seconds between two disturbances, at most.
BETWEEN = 1.5

#: What may grow in a minute without disturbances, in the last two thirds of a round: KB of memory,
#: which caches and allocators take at first; files and threads, which come and go.
SLOPES = {'memory': 10_000, 'files': 10, 'threads': 5}


@dataclass
class Outcome:
    """One round."""

    options: Options
    seconds: float = 0.0
    figures: Counter[str] = field(default_factory=Counter)
    trends: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def run(
    directory: Path,
    options: Options,
    seconds: float,
    disturbances: list[Disturbance] = ALL,
) -> Outcome:
    """Run one round.

    :param disturbances: what may happen; nothing: memory, files and threads have to stay.
    """
    outcome = Outcome(options)
    began = time.monotonic()
    site = Site(directory, options)
    try:
        site.start()
        meters = Meters(lambda: _processes(site))
        _disturb(site, random.Random(options.seed), seconds, disturbances, outcome.figures)
        outcome.trends = meters.stop()
        _end(site, outcome)
    except Exception:
        outcome.wrong.append(traceback.format_exc())
    finally:
        site.close()
    outcome.seconds = time.monotonic() - began
    if not disturbances:
        outcome.wrong += _growing(outcome)
    if not outcome.wrong:
        shutil.rmtree(directory)
    return outcome


def _processes(site: Site) -> dict[str, int]:
    found = {client.name: client.process.popen.pid for client in site.clients}
    for number, server in enumerate(site.servers):
        if server._process is not None:
            found[f'server {number}'] = server._process.popen.pid
    return found


def _disturb(
    site: Site,
    chooser: random.Random,
    seconds: float,
    disturbances: list[Disturbance],
    figures: Counter[str],
) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, chooser.random() * BETWEEN))
        if disturbances and time.monotonic() < end:
            one = chooser.choice(disturbances)
            one(site, chooser)
            figures[one.__name__] += 1


def _end(site: Site, outcome: Outcome) -> None:
    for client in site.clients:
        outcome.figures += Counter(client.end())
    site.stop()
    history, wrong = verdict(site)
    outcome.wrong += wrong
    outcome.figures['attempts'] += len(history.attempts)
    outcome.figures['packs'] += site.packs
    outcome.figures['transactions'] += len(history.transactions or ())
    outcome.figures['cached records'] += sum(len(cache.records) for cache in history.caches)
    # of processes that were killed, too
    outcomes = Counter(str(attempt.outcome) for attempt in history.attempts)
    for name in ('committed', 'read', 'refused', 'unknown', 'None'):
        outcome.figures[name] = outcomes[name]


def _growing(outcome: Outcome) -> list[str]:
    return [
        f'{name}: {figure} grows by {trend[2]} a minute, from {trend[0]} to {trend[1]}'
        for name, trends in outcome.trends.items()
        for figure, trend in trends.items()
        if trend[2] > SLOPES[figure] and trend[1] - trend[0] > SLOPES[figure] / 4
    ]


def rounds(
    directory: Path,
    seed: int,
    seconds: float,
    ends: Callable[[], bool],
    tell: Callable[[Outcome], None],
) -> list[Outcome]:
    """Run rounds until `ends`, every fifth one of them without disturbances; seeds count up."""
    outcomes = []
    while not ends():
        quiet = len(outcomes) % 5 == 4
        options = replace(Options.of_seed(seed + len(outcomes)), steady=quiet)
        outcome = run(directory / f'round-{options.seed}', options, seconds, [] if quiet else ALL)
        outcomes.append(outcome)
        tell(outcome)
    return outcomes
