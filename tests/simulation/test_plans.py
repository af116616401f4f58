"""Plans: the same for the same number, JSON and back, and the same history each time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ZODB.MappingStorage import MappingStorage

from support.simulation.plan import Plan
from support.simulation.planning import plan_of
from support.simulation.simulate import run

TESTS = str(Path(__file__).parent.parent)

#: Prints what a history consists of.
CHILD = """
import hashlib, sys
from support.simulation.planning import plan_of
from support.simulation.simulate import run
for seed in map(int, sys.argv[1:]):
    outcome = run(plan_of(seed))
    print(hashlib.sha256('\\n'.join([*outcome.history.lines(), *outcome.log]).encode()).hexdigest())
"""


def test_a_number_has_one_plan():
    assert plan_of(3) == plan_of(3) != plan_of(4)


@pytest.mark.parametrize('seed', range(20))
def test_a_plan_is_the_same_after_json(seed):
    plan = plan_of(seed)
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
    lines = [list(run(plan_of(seed)).history.lines()) for seed in (5, 6, 5)]
    assert lines[0] == lines[2] != lines[1]


def test_real_threads_have_no_part_in_a_history(serving, clients):
    """As those that other tests leave behind."""
    before = list(run(plan_of(5)).history.lines())
    for _ in range(3):
        clients(serving(MappingStorage()).addr)
    clients('/nowhere/socket', wait=False)
    assert list(run(plan_of(5)).history.lines()) == before


SCRIPT = str(Path(TESTS).parent / 'scripts' / 'simulate.py')


def simulate(*arguments):
    """Run the script; return its exit status and what it has written."""
    child = subprocess.run(
        [sys.executable, SCRIPT, *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    return child.returncode, child.stdout


def test_the_script_sums_up(tmp_path):
    status, output = simulate('--histories', '4', '--jobs', '2', '--keep', str(tmp_path))
    assert status == 0
    assert output.startswith('4 histories') and output.endswith('0 not right\n')
    assert os.listdir(tmp_path) == []


def test_the_script_shows_one_plan_of_a_file(tmp_path):
    (tmp_path / 'plan').write_text(plan_of(3).json())
    status, output = simulate('--plan', str(tmp_path / 'plan'))
    assert (status, output) == simulate('--seed', '3') and status == 0
    assert 'attempts' in output and 'log:' in output


def test_a_history_that_is_not_right_is_kept_small(tmp_path, monkeypatch, capsys):
    """Here it is a fault that the first client has committed something."""
    from support.simulation import campaign
    from support.simulation.checks import Anomaly

    def seen(plan):
        outcome = run(plan)
        if any(one.client == 'c1' and one.is_acknowledged for one in outcome.history.attempts):
            outcome.anomalies = [Anomaly('it has committed', '')]
        return outcome

    monkeypatch.setattr(campaign, 'run', seen)
    names = {'first': 0, 'histories': 9, 'jobs': 1, 'minutes': None, 'having': None}
    options = type('', (), names)
    options.keep, options.failures, options.tries = str(tmp_path), 1, 30
    assert campaign.main(options) == 1
    (name,) = os.listdir(tmp_path)
    plan = Plan.from_json((tmp_path / name).read_text())
    assert seen(plan).anomalies and len(plan.clients) == 1
    assert f'--plan {tmp_path / name}' in capsys.readouterr().out
