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
from typing import Any, NamedTuple

from support.simulation.history import History
from support.stress.disturbances import ALL, Disturbance
from support.stress.ground import Ground
from support.stress.meters import Meters
from support.stress.site import Options, Site
from support.stress.verdict import verdict

#: Seconds between two disturbances, at most.
BETWEEN = 1.5

#: What may grow in a minute without disturbances, in the last two thirds of a round: KB of memory,
#: which caches and allocators take at first; files and threads, which come and go.
SLOPES = {'memory': 10_000, 'files': 10, 'threads': 5}


class Kind(NamedTuple):
    """A kind of rounds.

    :param site: makes what runs, from a directory and options.
    :param verdict: returns the history, and what is wrong.
    :param options: returns those of a seed.
    :param disturbances: what may happen.
    """

    site: Callable[[Path, Any], Any]
    verdict: Callable[[Any], tuple[History, list[str]]]
    options: Callable[[int], Any]
    disturbances: list[Disturbance]


#: One server of a FileStorage, perhaps with another one behind it.
SITE = Kind(Site, verdict, Options.of_seed, ALL)


@dataclass
class Outcome:
    """One round."""

    options: Any
    seconds: float = 0.0
    figures: Counter[str] = field(default_factory=Counter)
    trends: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def run(
    directory: Path,
    options: Any,
    seconds: float,
    disturbances: list[Disturbance] | None = None,
    kind: Kind = SITE,
) -> Outcome:
    """Run one round.

    :param options: of the kind of rounds.
    :param disturbances: what may happen, instead of all of its kind; nothing: memory, files and
        threads have to stay.
    """
    disturbances = kind.disturbances if disturbances is None else disturbances
    outcome = Outcome(options)
    began = time.monotonic()
    site = kind.site(directory, options)
    try:
        site.start()
        meters = Meters(lambda: _processes(site))
        _disturb(site, random.Random(options.seed), seconds, disturbances, outcome.figures)
        outcome.trends = meters.stop()
        _end(site, outcome, kind)
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


def _processes(site: Ground) -> dict[str, int]:
    found = {client.name: client.process.popen.pid for client in site.clients}
    for number, server in enumerate(site.servers):
        if server._process is not None:
            found[f'server {number}'] = server._process.popen.pid
    return found


def _disturb(
    site: Ground,
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


def _end(site: Ground, outcome: Outcome, kind: Kind) -> None:
    for client in site.clients:
        outcome.figures += Counter(client.end())
    site.stop()
    history, wrong = kind.verdict(site)
    outcome.wrong += wrong
    outcome.figures['attempts'] += len(history.attempts)
    outcome.figures['packs'] += site.packs
    outcome.figures += site.figures
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
    kind: Kind = SITE,
) -> list[Outcome]:
    """Run rounds until `ends`; seeds count up. Every fifth one with a single server is without
    disturbances.
    """
    outcomes = []
    while not ends():
        options = kind.options(seed + len(outcomes))
        quiet = kind is SITE and len(outcomes) % 5 == 4
        if quiet:
            options = replace(options, steady=True)
        where = directory / f'round-{options.seed}'
        outcome = run(where, options, seconds, [] if quiet else None, kind)
        outcomes.append(outcome)
        tell(outcome)
    return outcomes
