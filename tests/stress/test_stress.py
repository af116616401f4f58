"""Real servers and clients under kills, stops, cuts, full disks and packs: a few seconds of what
``scripts/stress`` does for hours.
"""

import pytest

from support.stress.disturbances import ALL
from support.stress.rounds import run
from support.stress.site import Options

pytest.importorskip('trustme')


def test_a_round_with_everything_that_happens(tmp_path, seed):
    outcome = run(tmp_path / 'round', Options(seed, tls=seed % 2 == 1, fan_out=True), 6.0)
    assert outcome.wrong == [], outcome
    assert outcome.figures['committed']


def test_memory_files_and_threads_stay(tmp_path, seed):
    outcome = run(tmp_path / 'round', Options(seed, clients=2, steady=True), 4.0, [])
    assert outcome.wrong == [], outcome
    assert outcome.trends.keys() == {'server 0', 'c0', 'c1'}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize('number', range(5))
def test_longer_rounds(tmp_path, seed, number):
    outcome = run(tmp_path / 'round', Options.of_seed(seed + number), 30.0, ALL)
    assert outcome.wrong == [], outcome
