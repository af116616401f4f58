"""zeo bench: figures of a short load, which touches no data."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64, z64

from support.processes import Process
from ZEO.commands import bench_run, zeo
from ZEO.commands.bench_run import SHARES, Load, summary
from ZEO.commands.bench_worker import answers
from ZEO.commands.zeo_bench import _TLS, table

QUICK = ['bench', '--seconds', '0.2', '--clients', '1']
TIMED = {'count', 'per-second', 'p50-seconds', 'p99-seconds'}
MOVED = {'count', 'per-second', 'bytes-per-second'}
FIGURES = {
    'round-trip': TIMED,
    'cold-loads': TIMED | MOVED,
    'warm-loads': MOVED,
    'commits': TIMED | MOVED,
    'invalidation': TIMED,
}


def keys(found):
    return {name: set(one) - {'server-cpu-seconds'} for name, one in found.items()}


def test_a_server_of_its_own_is_measured_and_leaves_nothing(tmp_path, capsys):
    args = ['--json', '--directory', str(tmp_path), '--object-size', '4KB']
    assert zeo.main([*QUICK, *args]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found['clients'], found['object-size'], found['server']) == (1, 4096, None)
    assert keys(found['figures']) == FIGURES
    assert all(one['count'] > 0 for one in found['figures'].values())
    for name in 'cold-loads', 'commits':
        assert found['figures'][name]['server-cpu-seconds'] > 0
    assert os.listdir(tmp_path) == []


def test_an_empty_storage_of_a_server_is_measured_once(serving, capsys):
    storage = MappingStorage()
    server = ['--server', str(serving(storage).addr), '--scratch-storage', '1']
    assert zeo.main([*QUICK, *server]) == 0
    said = capsys.readouterr().out.splitlines()
    assert f'storage 1 of {server[1]}; 1 clients' in said[0] and said[1] == ''
    assert [line.split('  ')[0] for line in said[3:]] == [
        'round trip',
        'load, from the server',
        'load, from the cache',
        'commit of one object',
        'until another client knows',
    ]
    last = storage.lastTransaction()
    assert zeo.main([*QUICK, *server]) == 2
    assert 'writes only to a storage that is empty' in capsys.readouterr().err
    assert storage.lastTransaction() == last


def answered(address, storage='1'):
    """Return what a process says that is to measure a storage, in this process."""
    options = {'wait_timeout': 0.3}
    tls = dict.fromkeys(_TLS)
    begin = {'address': address, 'storage': storage, 'tls': tls, 'options': options}
    jobs = [{'do': 'client', 'cache_size': 2**20, **begin}, {'do': 'empty'}]
    return list(answers(json.dumps(job).encode() for job in jobs))


@pytest.mark.parametrize('oid', [z64, p64(1)])
def test_a_storage_with_data_is_not_empty(serving, oid):
    storage, meta = MappingStorage(), TransactionMetaData()
    storage.tpc_begin(meta)
    storage.store(oid, z64, b'data', '', meta)
    storage.tpc_vote(meta)
    last = storage.tpc_finish(meta)
    first, second = answered(str(serving(storage).addr))
    assert first == {} and second['error'].startswith('storage 1 has 1 objects, and ')
    assert storage.lastTransaction() == last and len(storage) == 1


def test_a_storage_that_is_not_served_is_an_error(serving, sockets):
    assert 'other' in answered(str(serving(MappingStorage()).addr), 'other')[0]['error']
    assert 'no connection' in answered(sockets())[0]['error']


def test_a_process_waits_for_a_server_as_long_as_it_may(monkeypatch):
    given = []

    class Waiting:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def do(self, name, seconds=0.0, **arguments):
            given.append((name, seconds))
            if name == 'know':
                raise bench_run.BenchFailed('enough')
            return {}

    monkeypatch.setattr(bench_run, 'Worker', Waiting)
    place = bench_run.Place('/socket', '1', {}, {'wait_timeout': 90.0})
    with pytest.raises(bench_run.BenchFailed, match='enough'):
        bench_run.run(place, Load(1.0, 2, 1000), lambda text: None)
    assert given.count(('client', 90.0)) == 2


def test_what_cannot_be_measured_ends_with_one_line(capsys):
    assert zeo.main([*QUICK, '--directory', '/no/such/directory']) == 2
    said = capsys.readouterr().err
    assert said.startswith('zeo bench: ') and said.count('\n') == 1
    assert 'there is no directory /no/such/directory: create it first' in said


@pytest.mark.parametrize(
    ('args', 'text'),
    [
        (['--server', '9100'], '--scratch-storage NAME'),
        (['--scratch-storage', 'a'], '--server ADDRESS'),
        (['--server', '9100', '--scratch-storage', 'a', '--directory', 'd'], '--directory'),
        (['--seconds', '0'], 'seconds'),
        (['--seconds', '3601'], '3600'),
        (['--clients', '65'], '64'),
        (['--clients', '9' * 5000], '64'),
        (['--object-size', '10'], '100 bytes'),
        (['--object-size', '9MB'], '8MB'),
    ],
)
def test_a_wrong_command_line_starts_nothing(args, text, capsys):
    assert zeo.main(['bench', *args]) == 2
    said = capsys.readouterr().err
    assert text in said and said.count('\n') == 1


@pytest.mark.parametrize(
    ('number', 'status'),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_what_is_stopped_leaves_nothing(tmp_path, number, status):
    command = [sys.executable, '-m', 'ZEO', 'bench', '--seconds=60', f'--directory={tmp_path}']
    with Process(command) as bench:
        bench.wait_until(lambda: list(tmp_path.glob('*/socket')))
        assert bench.end(number)[0] == status
    assert os.listdir(tmp_path) == []


def test_the_parts_of_the_time_are_all_of_it_and_every_client_has_an_object():
    assert sum(SHARES.values()) == pytest.approx(1)
    assert Load(1.0, 64, 8 * 2**20).objects == 64
    assert Load(1.0, 1, 100).objects == 2000


def test_figures_of_several_processes_are_one():
    one = {'count': 10, 'seconds': 2.0, 'samples': [0.1, 0.2]}
    two = {'count': 30, 'seconds': 1.0, 'samples': [0.3, 0.4]}
    found = summary([one, two], 100, 4.0)
    assert found == {
        'count': 40,
        'per-second': 35.0,
        'bytes-per-second': 3500,
        'p50-seconds': 0.3,
        'p99-seconds': 0.4,
        'server-cpu-seconds': 0.1,
    }
    shown = table(dict.fromkeys(FIGURES, found))
    assert shown[1].split()[-6:] == ['ms', '3.4', 'KB', '100', 'ms'] or '3.4 KB' in shown[1]
    assert len(shown) == 6 and summary([], None, None) == {'count': 0, 'per-second': 0}
