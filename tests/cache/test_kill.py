"""SIGKILL, at hundreds of moments, to a real process that works with a cache file."""

import random
import sys
import time
from pathlib import Path

import pytest
from ZODB.utils import p64, u64

from support.cache_files import leave
from support.cache_stream import Stream, wrong_records
from support.processes import Process
from ZEO.cache import ClientCache

SIZE = 24 * 1024
KILLS_PER_SEED = 25


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize('seed', range(8))
def test_killed_at_any_moment(tmp_path, seed):
    """200 kills in all: each leaves a file that serves nothing wrong, and goes on being used."""
    path = str(tmp_path / 'k.zec')
    chooser = random.Random(seed)
    skip, kept = 0, 0
    for _ in range(KILLS_PER_SEED):
        _run_and_kill(path, seed, skip, chooser.random() * 0.02)
        cache = ClientCache(path, SIZE)
        last = cache.getLastTid() or p64(1)
        history = _history(seed, u64(last) + 1)
        wrong = wrong_records(cache, history)
        kept += len(cache) > 10
        if chooser.random() < 0.5:
            cache.close()
        else:
            leave(cache)  # as another kill
        assert wrong == []
        skip = u64(last) - 1
    assert kept > KILLS_PER_SEED / 2


def _run_and_kill(path, seed, skip, seconds):
    arguments = [path, str(SIZE), str(seed), str(skip)]
    program = Path(__file__).with_name('kill_child.py')
    with Process([sys.executable, program, *arguments]) as child:
        assert child.output.line() == b'ready'
        time.sleep(seconds)  # the random moment


def _history(seed, count):
    """Return what the stream did up to one transaction after the last that is in the cache."""
    stream = Stream(seed)
    nothing = type('Nothing', (), {'__getattr__': lambda self, name: lambda *args: None})()
    while stream.tid < count:
        stream.transaction(nothing)
    return stream.history
