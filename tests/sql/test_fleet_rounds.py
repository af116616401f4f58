"""A fleet under kills, stops and lost connections: seconds of what ``scripts/stress --fleet`` does
for hours.
"""

from functools import partial

import pytest

from support.postgres import Cluster


@pytest.fixture(scope='module')
def kind():
    """Rounds of fleets, on a PostgreSQL of their own, which keeps what it was given."""
    from support.stress import fleet, fleet_verdict
    from support.stress.rounds import Kind

    cluster = Cluster(**fleet.DURABLE)
    make = partial(fleet.Fleet, cluster)
    yield Kind(make, fleet_verdict.verdict, fleet.FleetOptions.of_seed, fleet.ALL)
    cluster.close()


def test_a_short_round_of_a_fleet(kind, tmp_path, seed):
    from support.stress import fleet, rounds

    options = fleet.FleetOptions(seed, keep_history=seed % 2 == 0, servers=2, clients=2)
    happens = [one for one in fleet.ALL if one.__name__ in ('kill_server', 'end_one_session')]
    outcome = rounds.run(tmp_path / 'round', options, 3.0, happens, kind)
    assert outcome.wrong == [], outcome
    assert outcome.figures['committed']


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize('number', range(4))
def test_longer_rounds_of_a_fleet(kind, tmp_path, seed, number):
    from support.stress import rounds

    outcome = rounds.run(tmp_path / 'round', kind.options(seed + number), 20.0, None, kind)
    assert outcome.wrong == [], outcome
