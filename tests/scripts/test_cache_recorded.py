"""Recorded accesses of real applications."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'scripts'))

from cache_lab import recorded
from cache_lab.policies import Clock, Lru, S3Fifo
from cache_policies import SHARES

from ZEO.cache.file_model import FileModel
from ZEO.cache.simulate import hit_rate


def test_accesses_are_kept_with_other_numbers(tmp_path):
    path = str(tmp_path / 'some.xz')
    recorded.write(path, [(1 << 60, 100), (7, 200), (1 << 60, 0)])
    assert recorded.read(path) == [(0, 100), (1, 200), (0, 0)]


def test_another_file_is_refused():
    with pytest.raises(ValueError, match='no recorded accesses'):
        recorded.read(__file__)


def test_a_crawled_zope_is_there():
    assert {'plone', 'reports', 'zope'} <= set(recorded.names())
    accesses = recorded.read(str(recorded.DIRECTORY / 'zope.xz'))
    size = sum({oid: size for oid, size in accesses if size}.values())
    assert hit_rate(FileModel(size // 10), accesses) > 0.15


def test_a_file_keeps_a_part_of_the_loop_of_a_plone():
    """More than it holds: whether it does must not depend on what came first."""
    accesses = recorded.read(str(recorded.DIRECTORY / 'plone.xz'))
    size = sum({oid: size for oid, size in accesses if size}.values())
    assert hit_rate(FileModel(int(size * 0.3)), accesses[:120_000]) > 0.4


@pytest.mark.parametrize(
    'name, shares, count',
    [
        ('zope', (0.1, 0.3, 0.75), None),
        ('reports', (0.05, 0.6), 40_000),
        ('plone', (0.3, 0.35, 0.4), 30_000),
        *(pytest.param(name, SHARES, None, marks=pytest.mark.slow) for name in recorded.names()),
    ],
)
def test_the_caches_are_never_a_point_below_the_best_policy(name, shares, count):
    """Between the usual sizes too: a Plone's pages are a loop over 40 % of its objects."""
    accesses = recorded.read(str(recorded.DIRECTORY / f'{name}.xz'))
    whole = sum({oid: size for oid, size in accesses if size}.values())
    for share in shares:
        size = int(whole * share)
        best = max(hit_rate(policy(size), accesses[:count]) for policy in (Clock, Lru, S3Fifo))
        assert hit_rate(FileModel(size), accesses[:count]) > best - 0.01, share
