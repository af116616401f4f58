"""Walks with read-ahead, computed: their round trips and bytes stay as few as they are."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'scripts'))

from ahead_lab import recorded
from ahead_lab.model import Model
from read_ahead_lab import walk_named


@pytest.fixture(scope='module')
def walks():
    return {}


@pytest.fixture
def walk(walks):
    def walk(name):
        if name not in walks:
            walks[name] = walk_named(name)
        return walks[name]

    return walk


@pytest.mark.parametrize(
    'name, first, second',
    [('btree', 0.01, 0.005), ('pages', 0.03, 0.005), ('plone', 0.12, 0.02), ('zope', 0.15, 0.02)],
)
def test_a_walk_takes_few_round_trips_and_one_that_was_made_before_hardly_any(
    walk, name, first, second
):
    model = Model(walk(name).records)
    loads = walk(name).loads
    for share in first, second:
        figures = model.walk(loads)
        assert figures.trips < share * len(loads)
        assert figures.bytes < 1.5 * figures.bytes_without
        assert figures.seconds < 0.4 * figures.seconds_without
        assert not figures.stopped


@pytest.mark.parametrize('think', [0.00002, 0.005])
def test_a_fast_and_a_slow_client_get_the_same_of_it(walk, think):
    loads = walk('plone').loads
    figures = Model(walk('plone').records, think).walk(loads)
    assert figures.trips < 0.12 * len(loads) and figures.bytes < 1.5 * figures.bytes_without


def test_the_figures_are_the_same_each_time(walk):
    once, again = (Model(walk('zope').records).walk(walk('zope').loads) for _ in range(2))
    assert replace(once, cpu=0) == replace(again, cpu=0)


def test_a_walk_is_kept_with_other_numbers_and_leads_to_the_same(walk, tmp_path):
    before = walk('pages')
    path = str(tmp_path / 'pages.xz')
    recorded.write(path, before.loads, before.records)
    after = recorded.read(path)
    assert [len(after.records[oid]) for oid in after.loads] == [
        len(before.records[oid]) for oid in before.loads
    ]
    both = [Model(one.records).walk(one.loads) for one in (before, after)]
    assert replace(both[0], cpu=0) == replace(both[1], cpu=0)


def test_another_file_is_refused():
    with pytest.raises(ValueError, match='no recorded loads'):
        recorded.read(__file__)
