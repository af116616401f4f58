"""A server and its clients in a simulated world: every history is right.

These are a few; ``scripts/simulate.py`` runs as many as it is asked for.
"""

import pytest

from support.simulation.campaign import smallest
from support.simulation.planning import plan_of
from support.simulation.report import reported
from support.simulation.simulate import run

#: Plans of one test, and tests.
PLANS, TESTS = 10, 8


@pytest.mark.parametrize('first', range(0, PLANS * TESTS, PLANS))
def test_histories_are_right(first):
    for seed in range(first, first + PLANS):
        outcome = run(plan_of(seed))
        assert not outcome.anomalies, (
            f'{reported(smallest(outcome, most_runs=60))}\n'
            f'All of it, and a smaller plan: scripts/simulate.py --first {seed} --histories 1'
        )
