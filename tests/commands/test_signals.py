"""What signals do at the start of a server's process, and while it serves."""

import signal
import threading

import pytest

from ZEO.commands.signals import Signals


class Server:
    """Takes note of what it is asked."""

    def __init__(self):
        self.stopped = 0
        self.posted = []

    def stop(self):
        self.stopped += 1

    def post(self, function):
        self.posted.append(function)


@pytest.fixture
def signals():
    return Signals()


def test_a_signal_between_opening_and_serving_is_not_lost(signals):
    server = Server()
    with signals.installed({signal.SIGTERM: signals.on_stop}):
        signal.raise_signal(signal.SIGTERM)
        signals.watch(server)
    assert server.stopped == 1 and signals.stopped_by == 'SIGTERM'


def test_a_signal_between_two_storages_keeps_the_second_from_being_opened(signals):
    opened = []
    with signals.installed({signal.SIGTERM: signals.on_stop}):
        with signals.interruptible():
            opened.append(1)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit) as caught, signals.interruptible():
            opened.append(2)
    assert opened == [1] and caught.value.code == 0


def test_handlers_are_taken_back(signals):
    before = signal.getsignal(signal.SIGUSR2)
    with signals.installed({signal.SIGUSR2: signals.on_reopen}):
        assert signal.getsignal(signal.SIGUSR2) == signals.on_reopen
    assert signal.getsignal(signal.SIGUSR2) == before


def test_an_ignored_signal_stays_ignored(signals):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.installed({signal.SIGHUP: signals.on_stop}):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_logs_of_a_running_server_are_reopened_by_its_loop(signals):
    server = Server()
    signals.watch(server)
    signals.on_reopen(signal.SIGHUP, None)
    assert len(server.posted) == 1 and not server.stopped


def test_a_thread_that_can_not_be_started_does_not_end_the_start(signals, monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, 'start', fail)
    signals.on_reopen(signal.SIGHUP, None)
