"""Leaving a server that is about to stop: the thread that does it."""

import threading
from types import SimpleNamespace

import pytest

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.leaving import Leaving
from ZEO.link.outbox import NotSent
from ZEO.net.system import REAL


class Ending:
    """A connection that ends while it is left, with something in it that was not sent."""

    where, is_stopping, lost = 'here', False, None

    def __init__(self, error):
        self.error = error
        self.has_ended = threading.Event()

    def call_no_more(self):
        self.lost = ClientDisconnected('the server has closed the connection')
        raise self.error

    def lose(self, reason):
        self.has_ended.set()


@pytest.mark.parametrize('error', [NotSent('the server stops'), ClientDisconnected('lost')])
def test_a_connection_that_ends_meanwhile_is_left_quietly(error, monkeypatch):
    complaints = []
    monkeypatch.setattr(threading, 'excepthook', complaints.append)
    threads = []

    class System(type(REAL)):
        def spawn(self, *args):
            threads.append(super().spawn(*args))
            return threads[-1]

    connection, state = Ending(error), SimpleNamespace()
    link = SimpleNamespace(connection=connection, on_lost=lambda connection, reason: None)
    Leaving(link, state, System())
    state.on_stopping(5.0)
    threads[0].join(10)
    assert connection.has_ended.is_set()
    assert not complaints
