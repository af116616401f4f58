"""Exceptions that strike real threads at moments that nothing has chosen: signals, and those that
another thread throws.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from support.interrupted import PATIENCE

TESTS = Path(__file__).parent.parent


@pytest.mark.timeout(240)
@pytest.mark.parametrize('seconds', [2, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize('error', ['Limit', 'SoftLimit'])
@pytest.mark.parametrize('how', ['signals', 'threads'])
def test_a_client_survives_strikes_at_any_moment(how, error, seconds):
    command = [sys.executable, '-m', 'support.struck_by_chance', how, error, str(seconds)]
    ended = subprocess.run(
        command, cwd=TESTS, capture_output=True, text=True, timeout=seconds + 4 * PATIENCE
    )
    assert ended.returncode == 0, ended.stderr[-20_000:]
