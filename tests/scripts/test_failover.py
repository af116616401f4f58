"""scripts/failover.py: a few kills of primaries, and that it finds a commit that is lost."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / 'scripts' / 'failover.py'


def run(*args):
    return subprocess.run(
        [sys.executable, SCRIPT, *args], capture_output=True, text=True, timeout=240
    )


def test_no_acknowledged_commit_is_lost_in_a_few_kills():
    done = run('--kills', '3', '--writers', '2')
    assert done.returncode == 0, done.stdout + done.stderr
    assert '3 kills: ' in done.stdout and ' 0 commits' not in done.stdout


@pytest.mark.slow
def test_nor_in_a_hundred():
    done = run('--kills', '100', '--seconds', '200', '--seed', '5')
    assert done.returncode == 0, done.stdout + done.stderr
