"""The models of eviction policies, and the accesses they are compared on."""

import random

import pytest

from ZEO.cache.policies import Clock, Lru, Ring, S3Fifo
from ZEO.cache.simulate import hit_rate, table, text_plot
from ZEO.cache.workloads import WORKLOADS


@pytest.mark.parametrize('policy', [Ring, Lru, Clock, S3Fifo])
def test_all_hits_when_everything_fits(policy):
    model = policy(10_000)
    assert [model.access(oid, 10) for oid in [1, 2, 3, 1, 2, 3]] == [False] * 3 + [True] * 3
    model.forget(2)
    assert not model.access(2, 10)


@pytest.mark.parametrize(
    ('policy', 'kept'), [(Ring, False), (Lru, True), (Clock, True), (S3Fifo, True)]
)
def test_what_is_used_stays(policy, kept):
    model = policy(1000)
    hits = 0
    for oid in range(1000):
        model.access(1000 + oid, 100)
        hits += model.access(1, 100) and oid > 20
    assert (hits == 979) is kept


@pytest.mark.parametrize('name', sorted(WORKLOADS))
def test_workloads(name):
    oids = WORKLOADS[name](2000, 100, random.Random(1))
    assert len(oids) == 2000
    assert min(oids) >= 0 and max(oids) < 100
    accesses = [(oid, 10) for oid in oids]
    assert hit_rate(Clock(10_000), accesses) > 0.9


def test_plot():
    rates = table([(1, 10), (2, 10), (1, 10), (2, 10)], [10, 100], ['ring', 'clock'])
    assert rates == {'ring': [0.0, 0.5], 'clock': [0.0, 0.5]}
    plot = text_plot(rates, ['10', '100'], height=2).splitlines()
    assert plot[0] == ' 100 % |'
    assert 'RC' in plot[1] and 'RC' in plot[2]
    with pytest.raises(ValueError, match='no loads'):
        table([], [10], ['ring'])
