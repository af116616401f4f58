"""Recorded accesses of real applications."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'scripts'))

from cache_lab import recorded

from ZEO.cache.simulate import Adaptive, hit_rate


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
    assert hit_rate(Adaptive(size // 10), accesses) > 0.15
