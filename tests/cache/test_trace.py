"""Traces: written when asked for, never in the way, read back as they were."""

import os
import struct

import pytest
from ZODB.utils import p64

from ZEO.cache import ClientCache, simulate, trace
from ZEO.cache.file_model import FileModel
from ZEO.commands import zeo_cache


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv('ZEO_CACHE_TRACE', '1')
    return str(tmp_path / 'x.zec')


def work(path):
    cache = ClientCache(path, 100_000)
    cache.load(p64(1))
    cache.store(p64(1), p64(2), None, b'data')
    cache.load(p64(1))
    cache.loadBefore(p64(1), p64(9))
    cache.loadBefore(p64(1), p64(2))
    cache.invalidate(p64(1), p64(3))
    cache.clear()
    cache.close()


def test_events(path):
    work(path)
    events = [(e.what, e.oid, e.tid, e.end, e.size) for e in trace.read(path + '.trace')]
    oid, none = p64(1), p64(0)
    assert events == [
        (trace.OPEN, none, None, None, 0),
        (trace.LOAD_MISS, oid, None, None, 0),
        (trace.STORE, oid, p64(2), None, 4),
        (trace.LOAD_HIT, oid, p64(2), None, 4),
        (trace.BEFORE_HIT, oid, p64(2), p64(9), 4),
        (trace.BEFORE_MISS, oid, None, p64(2), 0),
        (trace.INVALIDATE, oid, p64(3), None, 0),
        (trace.CLEAR, none, None, None, 0),
    ]
    work(path)
    assert len(list(trace.read(path + '.trace'))) == 16  # it goes on


def test_accesses(path):
    work(path)
    accesses = simulate.accesses_of(trace.read(path + '.trace'))
    assert accesses == [(1, 64), (1, 64), (1, 64), (1, 64), (1, 0)]
    assert simulate.hit_rate(FileModel(1000), accesses) == 0.75


def test_only_when_asked_for(path, monkeypatch):
    monkeypatch.delenv('ZEO_CACHE_TRACE')
    work(path)
    assert not os.path.exists(path + '.trace')


def test_trace_that_cannot_be_written(path, caplog):
    os.mkdir(path + '.trace')
    work(path)
    assert 'No cache trace' in caplog.text


def test_not_a_trace(tmp_path):
    other = tmp_path / 'other'
    other.write_bytes(b'x' * 100)
    with pytest.raises(ValueError, match='is not a cache trace'):
        list(trace.read(str(other)))


@pytest.mark.parametrize('when', [float('inf'), float('nan'), 1e300, -1e300])
def test_no_moment_is_shown_of_an_event_that_has_none(path, capsys, when):
    work(path)
    with open(path + '.trace', 'ab') as file:
        file.write(struct.pack('<dBI8s8s8s', when, trace.CLEAR, 0, *3 * [bytes(8)]))
    assert zeo_cache.main(['trace', '--events', path + '.trace']) == zeo_cache.WRONG_USAGE
    assert 'x.zec.trace is damaged' in capsys.readouterr().err
