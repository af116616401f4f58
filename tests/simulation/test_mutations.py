"""The mistakes that the simulator has to find: each can still be put in, and some are found here.

``scripts/simulate.py --mutations`` looks for all of them.
"""

import pytest

from support.simulation.mutations import MUTATIONS
from support.simulation.mutations_table import histories

#: Those that few histories show.
QUICK = ['recent-records-kept', 'serials-not-checked', 'finished-but-failed']


@pytest.mark.parametrize('mutation', MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mistake_can_be_put_into_the_code(mutation):
    compile(mutation.applied(), mutation.name, 'exec')


def test_each_has_a_name_of_its_own():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 25


@pytest.mark.parametrize('name', QUICK)
def test_a_mistake_is_found(name):
    assert histories(name, 0, 100) is not None


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    'mutation',
    [mutation for mutation in MUTATIONS if not mutation.elsewhere],
    ids=lambda mutation: mutation.name,
)
def test_every_mistake_is_found(mutation):
    assert histories(mutation.name, 0, 3000) is not None
