"""The models of eviction policies, and the accesses they are compared on."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'scripts'))

import cache_policies  # noqa: E402
from cache_lab import recorded  # noqa: E402
from cache_lab.policies import Clock, Lru, Ring, S3Fifo  # noqa: E402
from cache_lab.real import InFile  # noqa: E402
from cache_lab.workloads import WORKLOADS  # noqa: E402
from cache_policies import compare_all, differences, parser, table, text_plot  # noqa: E402

from ZEO.cache.file_model import FileModel  # noqa: E402
from ZEO.cache.simulate import hit_rate  # noqa: E402

FEW = ('--policies', 's3-fifo', 'file')


@pytest.mark.parametrize('policy', [Ring, Lru, Clock, S3Fifo, FileModel])
def test_all_hits_when_everything_fits(policy):
    model = policy(10_000)
    assert [model.access(oid, 10) for oid in [1, 2, 3, 1, 2, 3]] == [False] * 3 + [True] * 3
    model.forget(2)
    assert not model.access(2, 10)


@pytest.mark.parametrize(
    ('policy', 'kept'),
    [(Ring, False), (Lru, True), (Clock, True), (S3Fifo, True), (FileModel, True)],
)
def test_what_is_used_stays(policy, kept):
    model = policy(1000)
    hits = 0
    for oid in range(1000):
        model.access(1000 + oid, 100)
        hits += model.access(1, 100) and oid > 20
    assert (hits == 979) is kept


@pytest.mark.parametrize('name', sorted(WORKLOADS))
def test_the_model_of_the_file_is_never_far_below_the_best(name):
    accesses = [(oid, 10) for oid in WORKLOADS[name](20_000, 2000, random.Random(1))]
    for share in 0.05, 0.5:
        capacity = int(20_000 * share)
        best = max(hit_rate(policy(capacity), accesses) for policy in (Clock, Lru, S3Fifo))
        assert hit_rate(FileModel(capacity), accesses) > best - 0.015


@pytest.mark.parametrize('share', [0.1, 0.4])
def test_the_model_answers_what_the_file_would(share):
    """Orders and reports: loads, changes, records of all sizes; and all that a file begins with."""
    accesses = recorded.read(str(recorded.DIRECTORY / 'reports.xz'))[:15_000]
    size = int(sum({oid: size for oid, size in accesses if size}.values()) * share)
    file, model = InFile(size), FileModel(size)
    differ = hits = 0
    for oid, length in accesses:
        if length:
            hit = model.access(oid, length)
            hits += hit
            differ += hit is not file.access(oid, length)
        else:
            model.forget(oid)
            file.forget(oid)
    assert hits > 500
    assert differ < len(accesses) * 0.01


@pytest.mark.parametrize('name', sorted(WORKLOADS))
def test_a_workload_stays_within_its_objects(name):
    oids = WORKLOADS[name](2000, 100, random.Random(1))
    assert len(oids) == 2000
    assert min(oids) >= 0 and max(oids) < 100
    accesses = [(oid, 10) for oid in oids]
    assert hit_rate(Clock(10_000), accesses) > 0.9


def test_hit_rates_are_drawn_as_text():
    rates = table([(1, 10), (2, 10), (1, 10), (2, 10)], [10, 100], ['ring', 'clock'])
    assert rates == {'ring': [0.0, 0.5], 'clock': [0.0, 0.5]}
    plot = text_plot(rates, ['10', '100'], height=2).splitlines()
    assert plot[0] == ' 100 % |'
    assert 'RC' in plot[1] and 'RC' in plot[2]
    with pytest.raises(ValueError, match='no loads'):
        table([], [10], ['ring'])


def test_caches_are_compared_on_all_accesses(monkeypatch, capsys):
    monkeypatch.setattr(recorded, 'names', list)
    options = parser().parse_args('--all --loads 2000 --objects 100 --policies ring clock'.split())
    assert compare_all(options) == 1  # on scans a ring is far below
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:7:2]] == [
        [name, 'ring'] for name in ('scan', 'uniform', 'zipf')
    ]
    assert float(lines[-1].split()[1]) < -5


def test_a_cache_in_memory_is_compared_with_models_of_records_as_large(monkeypatch):
    sizes = set()

    def compared(accesses, capacities, names):
        sizes.update((name, accesses[0][1], *capacities) for name in names)
        return {name: [0.0] for name in names}

    monkeypatch.setattr(cache_policies, 'differences', compared)
    options = parser().parse_args('--loads 20 --objects 100 --policies memory file'.split())
    cache_policies._cell(('scan', 0.5, options))
    more = cache_policies.MORE_IN_MEMORY
    assert sizes == {('file', 1024, 51_200), ('memory', 1024 + more, 51_200 + 50 * more)}
    assert more > 100


@pytest.mark.parametrize('name', ['file', 'memory'])
def test_a_real_cache_is_compared_with_the_best_model(name):
    accesses = [(oid % 7, 1024) for oid in range(100)] + [(0, 0), (0, 1024)]
    (points,) = differences(accesses, [3000, 20_000], [name]).values()
    assert points[1] == 0  # all but the first seven and the one that was forgotten
    assert points[0] > -1  # a loop: none of the models holds a part


@pytest.mark.parametrize(
    'args, words',
    [
        (['--workload', 'scan', '--loads', '2000', '--objects', '100', *FEW], 's3-fifo'),
        (['--recorded', 'zope', '--policies', 'model', 'ring'], 'model'),
        (['--trace', __file__], 'is not a cache trace'),
    ],
)
def test_policies_are_compared_by_a_script(args, words):
    done = subprocess.run(
        [sys.executable, ROOT / 'scripts' / 'cache_policies.py', *args],
        capture_output=True,
        text=True,
        timeout=50,
        env={'PYTHONPATH': str(ROOT / 'src')},
    )
    assert words in done.stdout + done.stderr
    assert done.returncode == (2 if '--trace' in args else 0)
