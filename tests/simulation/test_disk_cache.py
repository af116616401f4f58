"""A client cache after crashes and kills at every change of the disk: it opens, and what it holds
is true as of its last tid.
"""

import logging
import random

import pytest

from support.cache_stream import Stream, wrong_records
from support.inside import regions_of
from support.simulation.crash_runs import crashes, kills
from ZEO.cache import ClientCache, cache_file, revisions

PATH = '/data/c.zec'
SIZE = 16 * 1024  # bytes; small, so that the hand goes round the ring many times


@pytest.fixture(autouse=True)
def quiet():
    """The cache logs why it starts empty."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class Lives:
    """Processes that use one cache, one after the other; the last makes it larger.

    :param transactions: of each of them.
    """

    def __init__(self, seed, transactions=8):
        self.stream = Stream(seed)
        self.transactions = transactions
        self.random = random.Random(seed)

    def randbits(self, count):
        """Stands for the module secrets, whose numbers would differ from run to run."""
        return self.random.getrandbits(count)

    def __call__(self):
        cache_file.secrets = revisions.secrets = self
        for size in (SIZE, SIZE, SIZE * 3 // 2):
            cache = ClientCache(PATH, size)
            verify(cache, self.stream.history)
            for _ in range(self.transactions):
                self.stream.transaction(cache)
            cache.close()


def verify(cache, history):
    """Drop what has changed meanwhile, as a client does when it connects."""
    last = cache.getLastTid()
    for oid, tids in history.items():
        if last is None or any(tid > last for tid in tids):
            cache.invalidate(oid, None)


def check(stop):
    """Open the cache, look at all that it holds, and go on; return whether it held something."""
    stream = stop.program.stream
    cache = ClientCache(PATH, SIZE)
    try:
        assert wrong_records(cache, stream.history) == [], stop
        held = len(cache) > 5
        verify(cache, stream.history)
        for _ in range(2):
            stream.transaction(cache)
        assert wrong_records(cache, stream.history) == [], stop
        return held
    finally:
        cache.close()


@pytest.fixture(autouse=True)
def steady_secrets(monkeypatch):
    """Puts back what programs replace."""
    for module in (cache_file, revisions):
        monkeypatch.setattr(module, 'secrets', module.secrets)


def test_after_a_kill_it_holds_nothing_wrong_and_nearly_all():
    held = [check(stop) for stop in kills(lambda: Lives(1), step=25)]
    assert sum(held) > len(held) * 0.7


def test_after_a_crash_it_holds_nothing_wrong():
    held = [check(stop) for stop in crashes(lambda: Lives(2), variants=2, step=6)]
    assert any(held)  # what was closed before is not thrown away


def test_it_goes_on_when_more_revisions_leave_than_were_counted():
    """A crash may have changed records behind a saved index."""
    cache = ClientCache(None, SIZE)
    regions_of(cache).main.closed_units = -1
    cache.setLastTid(b'\0' * 7 + b'\1')
    assert cache.is_usable
    cache.close()


def test_without_the_name_of_the_boot_it_would(monkeypatch):
    """So that these tests can fail."""
    monkeypatch.setattr(cache_file, 'boot_id', lambda: b'always the same.')
    monkeypatch.setattr('ZEO.cache.opening.boot_id', lambda: b'always the same.')
    with pytest.raises(AssertionError):
        for stop in crashes(lambda: Lives(2), variants=2, step=5):
            check(stop)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('seed', range(3))
def test_many_crashes_and_kills(seed):
    for stop in kills(lambda: Lives(seed, 15)):
        check(stop)
    for stop in crashes(lambda: Lives(seed, 15), variants=4):
        check(stop)
