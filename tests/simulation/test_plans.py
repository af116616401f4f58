"""Plans: the same for the same number, JSON and back, and the same history each time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.simulation.plan import Plan
from support.simulation.simulate import run

TESTS = str(Path(__file__).parent.parent)

#: Prints what a history consists of.
CHILD = """
import hashlib, sys
from support.simulation.plan import Plan
from support.simulation.simulate import run
for seed in map(int, sys.argv[1:]):
    outcome = run(Plan.of_seed(seed))
    print(hashlib.sha256('\\n'.join([*outcome.history.lines(), *outcome.log]).encode()).hexdigest())
"""


def test_a_number_has_one_plan():
    assert Plan.of_seed(3) == Plan.of_seed(3) != Plan.of_seed(4)


@pytest.mark.parametrize('seed', range(20))
def test_a_plan_is_the_same_after_json(seed):
    plan = Plan.of_seed(seed)
    assert Plan.from_json(plan.json()) == plan


@pytest.mark.parametrize('text', ['[]', '{"what": 1}', '1'])
def test_what_is_not_a_plan(text):
    with pytest.raises(ValueError, match='not a plan'):
        Plan.from_json(text)


def test_a_plan_has_one_history_whatever_the_process():
    """To the byte, log included: also where texts have other hashes."""
    seeds = [str(seed) for seed in range(8)]
    first, second = (
        subprocess.run(
            [sys.executable, '-c', CHILD, *seeds],
            env={**os.environ, 'PYTHONHASHSEED': number, 'PYTHONPATH': TESTS},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout.split()
        for number in ('0', '1')
    )
    assert first == second
    assert len(set(first)) == len(seeds)


def test_histories_of_one_process_do_not_depend_on_each_other():
    lines = [list(run(Plan.of_seed(seed)).history.lines()) for seed in (5, 6, 5)]
    assert lines[0] == lines[2] != lines[1]
