"""ZEO.scripts: the names by which recipes, wrappers and crontabs of ZEO 5 and 6 call commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ZEO
from ZEO import nagios, start, zeoctl
from ZEO.cache import ClientCache
from ZEO.commands import zeo_cache, zeo_status
from ZEO.commands import zeopack as the_command
from ZEO.scripts import cache_simul, cache_stats, zeopack
from ZEO.version import version

SOURCES = str(Path(ZEO.__file__).parent.parent)


@pytest.fixture
def trace(tmp_path, monkeypatch):
    monkeypatch.setenv('ZEO_CACHE_TRACE', '1')
    cache = ClientCache(str(tmp_path / 'x-1.zec'), 100_000)
    for number in range(20):
        oid = (number % 15).to_bytes(8, 'big')
        if cache.load(oid) is None:
            cache.store(oid, b'\0' * 7 + b'\1', None, b'x' * 500)
    cache.close()
    return str(tmp_path / 'x-1.zec.trace')


def test_zeopack_by_a_wrapper(tmp_path, monkeypatch, capsys):
    """As the wrapper does that recipes write: it adds switches to sys.argv."""
    path = str(tmp_path / 's')
    _, stop = ZEO.server(port=path)
    try:
        monkeypatch.setattr(sys, 'argv', ['zeopack', '-d', '1'])
        sys.argv.extend(['-U', path])
        assert zeopack.main() == 0
        assert capsys.readouterr().out.startswith(f'storage 1 of {path}: packed to ')
        assert zeopack.main('-u', path) == 0
    finally:
        stop()


@pytest.mark.parametrize('name', ['zeopack', 'cache_stats', 'cache_simul'])
def test_each_runs_as_a_module(name):
    result = subprocess.run(
        [sys.executable, '-m', f'ZEO.scripts.{name}', '--help'],
        timeout=50,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': SOURCES},
    )
    assert (result.returncode, result.stderr) == (0, '') and result.stdout.startswith(
        f'usage: {name}'
    )


def test_cache_stats_sums_up_a_trace(trace, capsys):
    assert cache_stats.main([trace]) == 0
    plain = capsys.readouterr().out
    assert 'hit rate             25.0%' in plain
    assert cache_stats.main(['-v', trace]) == 0
    assert len(capsys.readouterr().out) > len(plain)
    assert cache_stats.main(['--nonsense']) == 2
    assert capsys.readouterr().err.startswith('cache_stats: ')


def test_cache_simul_replays_a_trace(trace, capsys):
    assert cache_simul.main(['-s', '1', trace]) == 0
    assert '1MB' in capsys.readouterr().out
    assert cache_simul.main([trace, '-s', 'x']) == 2
    assert cache_simul.main([]) == 2


@pytest.mark.parametrize(
    'main',
    [start.main, zeoctl.main, nagios.main, the_command.main, zeo_status.main, zeo_cache.main],
)
def test_every_command_tells_its_version(main, capsys):
    try:
        assert not main(['--version'])
    except SystemExit as ended:
        assert not ended.code
    assert capsys.readouterr().out == f'ZEO {version()}\n'
