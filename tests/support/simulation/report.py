"""A history as text, for people.

Enters: an outcome. Leaves: what is wrong, the plan, what each client did and saw, the log. Fails:
never.
"""

from __future__ import annotations

from support.simulation.history import Attempt
from support.simulation.scheduler import BEGINNING
from support.simulation.simulate import Outcome

#: Characters of an error that are shown.
_ERROR = 120


def reported(outcome: Outcome) -> str:
    """Return everything about one history."""
    parts = [
        *(f'NOT RIGHT: {anomaly}' for anomaly in outcome.anomalies),
        f'plan: {outcome.plan.json()}',
        'transactions of the database in the end:',
        *(f'  {one.tid} {one.id} {one.values}' for one in outcome.history.transactions or ()),
        'attempts (began, ended, id, outcome, snapshot, tid):',
        *map(described, sorted(outcome.history.attempts, key=lambda one: one.began)),
        'log:',
        *(f'  {line}' for line in outcome.log),
    ]
    return '\n'.join(parts)


def described(attempt: Attempt) -> str:
    """Return what one attempt did."""
    times = [
        '       -' if time is None else f'{time - BEGINNING:8.4f}'
        for time in (attempt.began, attempt.ended)
    ]
    outcome = attempt.outcome or ('killed' if attempt.killed else 'no end')
    steps = ' '.join(f'{step[0]}({", ".join(map(str, step[1:]))})' for step in attempt.steps)
    text = (
        f'  {" ".join(times)} {attempt} {outcome} {attempt.snapshot or "-"} {attempt.tid or "-"} '
        f'{steps}'
    )
    return f'{text}\n      {attempt.error[:_ERROR]}' if attempt.error else text
