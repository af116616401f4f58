"""A process that may have no more threads for a moment: that is an error of one call, and never the
end of a client.
"""

import threading
import time

import pytest

from support.inside import link_of, state_of
from support.interrupted import OIDS, PATIENCE, check, patiently
from ZEO.Exceptions import ClientDisconnected


@pytest.fixture
def disk():
    return False


@pytest.fixture
def setting(make_setting):
    return make_setting(False)


@pytest.fixture
def starting(monkeypatch):
    """The names of threads that can't be started, as prefixes."""
    forbidden = set()
    start = threading.Thread.start

    def refuse(thread):
        if any(thread.name.startswith(name) for name in forbidden):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, 'start', refuse)
    return forbidden


def lose(client):
    """Lose the connection, with no connector under way."""
    until = time.monotonic() + PATIENCE
    connection = patiently(link_of(client).wait)
    while link_of(client).connector.is_running:
        assert time.monotonic() < until
        time.sleep(0.001)
    connection.lose('a test')


def test_a_client_without_a_thread_to_connect_says_so_and_tries_again(setting, starting):
    client = setting.open()
    client.load(OIDS[0])
    starting.add('ZEO')
    lose(client)
    for _ in range(2):
        with pytest.raises(ClientDisconnected, match="can't start new thread"):
            client.ping()
    client.sync()
    assert client.load(OIDS[0])  # from the cache
    setting.commit(setting.other)
    starting.clear()
    client.ping()
    check(setting, client)


def test_opening_a_client_fails_at_once_and_the_next_one_works(setting, starting):
    starting.add('ZEO')
    with pytest.raises(ClientDisconnected, match="can't start new thread"):
        setting.open()
    starting.clear()
    check(setting, setting.open())


def test_addresses_are_tried_one_after_the_other_without_threads_for_them(setting, starting):
    client = setting.open()
    starting.add('ZEO connecting')
    lose(client)
    check(setting, client)


def test_a_connection_without_a_watcher_works_and_is_read_all_the_same(setting, starting):
    """The thread that has connected reads, when no call does."""
    client = setting.open()
    starting.add('ZEO watcher')
    lose(client)
    check(setting, client)
    setting.commit(setting.other)
    until = time.monotonic() + PATIENCE
    while state_of(client).last_tid != setting.storage.lastTransaction():
        # which no call helps to take in
        assert time.monotonic() < until
        time.sleep(0.002)
    lose(client)
    check(setting, client)
