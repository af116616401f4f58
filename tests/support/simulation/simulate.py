"""Runs one plan, and checks its history.

Enters: a :class:`~support.simulation.plan.Plan`. Leaves: an :class:`Outcome`. Fails: never by what
the product does: that is an anomaly.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from support.simulation import disk_modules, objects
from support.simulation.cast import Cast
from support.simulation.checks import Anomaly
from support.simulation.clients import UNEXPECTED
from support.simulation.history import History
from support.simulation.losses import check_with_losses, lost_transactions
from support.simulation.plan import Plan


@dataclass
class Outcome:
    """What has become of a plan.

    :param anomalies: what is wrong.
    :param counts: commits, conflicts, unknown outcomes, and faults by their kinds.
    :param log: lines of the product's log, and what was done to it.
    """

    plan: Plan
    history: History
    anomalies: list[Anomaly]
    counts: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    seconds: float = 0.0  # virtual


def run(plan: Plan) -> Outcome:
    """Run a plan, and check its history."""
    objects.image(plan.blobs is not None)
    cast = Cast(plan)
    with cast.world, disk_modules.installed(cast.disk):
        failure = cast.play()
    history = cast.history
    anomalies = [] if failure is None else [Anomaly('no end', str(failure))]
    anomalies += cast.problems
    anomalies += check_with_losses(history)
    anomalies += [
        Anomaly('unexpected error', f'{attempt}: {attempt.error}')
        for attempt in history.attempts
        if attempt.error.startswith(UNEXPECTED)
    ]
    counts = cast.counts
    counts.update({f'fault {kind}': number for kind, number in cast.faults.counts.items()})
    counts['lost'] = len(lost_transactions(history))
    for attempt in history.attempts:
        if attempt.outcome is not None and attempt.kind == 'transaction':
            counts[attempt.outcome] += 1
        if 'ConflictError' in attempt.error:
            counts['conflict'] += 1
    return Outcome(plan, history, anomalies, counts, cast.log(), cast.world.now - 1000.0)
