"""A database that cannot take in what has changed, as for lack of memory."""

import pytest
from ZODB.utils import z64

from support.scripted import oid, tid
from ZEO.cache.memory_cache import MemoryCache
from ZEO.link.state import ClientState

pytestmark = pytest.mark.smoke


class Failing:
    """A database that fails after it has told some of its connections."""

    def __init__(self):
        self.log = []

    def invalidate(self, tid, oids):
        self.log.append((tid, list(oids)))
        raise MemoryError

    def invalidateCache(self):
        self.log.append('everything')


@pytest.fixture
def state():
    state = ClientState(MemoryCache())
    state.reset_to(z64)
    state.database = Failing()
    return state


def test_what_others_have_changed_has_all_connections_forget_everything(state):
    """One of them may take the new tid for seen, without the change."""
    with pytest.raises(MemoryError):
        state.on_message('invalidateTransaction', (tid(1), [oid(1)]))
    assert state.database.log == [(tid(1), [oid(1)]), 'everything']
    assert state.last_tid == z64  # so that the next connection asks for it again


def test_so_it_is_with_what_they_have_changed_while_there_was_no_connection(state):
    with pytest.raises(MemoryError):
        state.catch_up(tid(2), [oid(1)])
    assert state.database.log == [(tid(2), [oid(1)]), 'everything']
    assert state.last_tid == z64
