"""Exceptions that strike real threads at moments that nothing has chosen: signals, and those that
another thread throws.
"""

import contextlib
import ctypes
import os
import random
import signal
import threading
import time

import pytest

from support.interrupted import OIDS, PATIENCE, check, patiently


class Limit(BaseException):
    """The time of a request is over."""


class SoftLimit(Exception):
    """The same, which applications catch by accident."""


@pytest.fixture
def setting(make_setting):
    return make_setting(True)


def attempt(setting, client, oids):
    try:
        setting.commit(client, oids, {oid: client.load(oid)[1] for oid in oids})
    except (Limit, SoftLimit):
        pass


class Other:
    """A thread that is never struck."""

    def __init__(self, setting, client):
        self.ended = False
        self.rounds = 0

        def run():
            while not self.ended:
                patiently(client.ping)
                patiently(lambda: client.load(OIDS[-1]))
                self.rounds += 1

        self.thread = threading.Thread(target=run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.ended = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), 'the other thread hangs'


LASTS = [2, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(120)])]


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('seconds', LASTS)
@pytest.mark.parametrize('error', [Limit, SoftLimit])
def test_signals_whose_handler_raises(setting, error, seconds):
    """In the main thread, every few milliseconds, while another thread uses the same client."""
    client, chance, struck = setting.open(), random.Random(7), 0

    def strike(number, frame):
        nonlocal struck
        struck += 1
        raise error

    before = signal.signal(signal.SIGUSR1, strike)
    until = time.monotonic() + seconds
    try:
        with Other(setting, client) as other:
            with Signals(chance):
                while time.monotonic() < until:
                    with contextlib.suppress(error, Exception):
                        # of the application's, as a conflict with what was interrupted
                        while time.monotonic() < until:
                            attempt(setting, client, OIDS[:2])
            rounds = other.rounds
            check(setting, client)
            wait_until(lambda: other.rounds > rounds)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert struck > 10
    setting.commit(client)
    client.close()
    check(setting, setting.open())


class Signals:
    """A thread that signals this process, at random moments a few milliseconds apart."""

    def __init__(self, chance):
        self._ended = threading.Event()

        def run():
            while not self._ended.wait(chance.uniform(0.0002, 0.02)):
                os.kill(os.getpid(), signal.SIGUSR1)

        self._thread = threading.Thread(target=run, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *exception):
        while self._thread.is_alive():
            with contextlib.suppress(Limit, SoftLimit):
                self._ended.set()
                self._thread.join(1)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('seconds', LASTS)
@pytest.mark.parametrize('error', [Limit, SoftLimit])
def test_exceptions_that_another_thread_throws_in(setting, error, seconds):
    client, chance, ended = setting.open(), random.Random(7), []

    def suffer():
        while not ended:
            with contextlib.suppress(error, Exception):
                while not ended:
                    attempt(setting, client, OIDS[:2])

    victim = threading.Thread(target=suffer, daemon=True)
    victim.start()
    until, struck = time.monotonic() + seconds, 0
    with Other(setting, client) as other:
        while time.monotonic() < until:
            time.sleep(chance.uniform(0, 0.05))
            if not victim.is_alive():  # struck outside of what it suppresses
                victim = threading.Thread(target=suffer, daemon=True)
                victim.start()
            struck += ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(victim.ident), ctypes.py_object(error)
            )
        rounds = other.rounds
        wait_until(lambda: other.rounds > rounds)
        ended.append(True)
        victim.join(PATIENCE)
        assert not victim.is_alive(), 'the struck thread hangs'
        check(setting, client)
    assert struck > 10
    setting.commit(client)
    client.close()
    check(setting, setting.open())


def wait_until(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, 'it hangs'
        time.sleep(0.002)
