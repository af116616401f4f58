"""The script that measures what metrics cost: it knows the source, and compares rightly."""

import compileall
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'scripts'))

import bench_metrics  # noqa: E402


def test_everything_that_counts_can_be_taken_out(tmp_path):
    place = bench_metrics.without_metrics(tmp_path / 'src') / 'ZEO'
    for name in bench_metrics.REMOVED:
        assert compileall.compile_file(place / name, quiet=1, legacy=True), name
        assert (place / name).read_text() != (ROOT / 'src' / 'ZEO' / name).read_text()


def test_a_source_that_it_does_not_know_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(bench_metrics.REMOVED, 'version.py', [('no such line\n', '')])
    with pytest.raises(bench_metrics.Changed, match='version.py has no'):
        bench_metrics.without_metrics(tmp_path / 'src')


def test_costs_are_compared_in_turn():
    class Side:
        def __init__(self, cost):
            self.costs = cost

        def cost(self, work):
            order.append(self)
            return self.costs

    order = []
    one, other = Side(3.0), Side(2.0)
    assert bench_metrics.compare(one, other, None, 4) == (3.0, 2.0)
    assert order == [other, one, one, other] * 2
