"""A read of a time that this client has not come to yet sees all that it has been told by then."""

import pytest
from ZODB.utils import maxtid

from support.inside import cache_of, state_of
from support.processes import wait_until
from support.scripted import INFO, Running, invalidation, message, oid, tid


@pytest.fixture
def pair(scripted, clients):
    """A client whose server sends records without being asked."""
    server = scripted()
    opening = Running(lambda: clients(server.address))
    served = server.client()
    served.register(tid(1), {**INFO, 'extensions': ('multi_commit', 'records_ahead')})
    served.expect('set_client_label')
    return opening.result(), served


def changed_behind_a_look(monkeypatch, client, served):
    """Have the next record that a look at the cache finds change before the look returns."""
    cache = cache_of(client)
    look = cache.loadBefore

    def look_and_wait(number, before):
        found = look(number, before)
        if found is not None:
            monkeypatch.setattr(cache, 'loadBefore', look)
            served.send(invalidation(tid(2), number))
            wait_until(lambda: state_of(client).last_tid == tid(2))
        return found

    monkeypatch.setattr(cache, 'loadBefore', look_and_wait)


def read_as_of_the_change(client, served, *before):
    """Return what a read finds that knows of the change from elsewhere.

    :param before: what the client sends before it asks for the object.
    """
    reading = Running(client.loadBefore, oid(1), tid(3))
    served.send(served.expect(*before, 'loadBefore').reply((b'new', tid(2), None)))
    return reading.result()


def test_what_ends_while_the_cache_is_looked_at_is_not_served_as_current(pair, monkeypatch):
    client, served = pair
    cache_of(client).store(oid(1), tid(1), None, b'old')
    changed_behind_a_look(monkeypatch, client, served)
    assert read_as_of_the_change(client, served) == (b'new', tid(2), None)


def test_nor_is_a_record_that_came_without_being_asked_for(pair, monkeypatch):
    client, served = pair
    served.send(message(0, True, 'readAhead', ([(oid(1), b'old', tid(1))], [])))
    wait_until(lambda: client.comes_ahead(oid(1)))
    changed_behind_a_look(monkeypatch, client, served)
    assert read_as_of_the_change(client, served, 'used_ahead') == (b'new', tid(2), None)


def test_a_read_of_what_is_known_needs_no_server(pair):
    client, _ = pair
    cache_of(client).store(oid(1), tid(1), None, b'old')
    for before in tid(2), maxtid:
        assert client.loadBefore(oid(1), before) == (b'old', tid(1), None)
