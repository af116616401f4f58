"""Signals and the loop: a handler that only sets something is never slept over."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from functools import partial
from operator import methodcaller
from pathlib import Path

import pytest

import ZEO
from ZEO.net.loop import Loop
from ZEO.net.poller import new_poller

SOURCES = str(Path(ZEO.__file__).parent.parent)

#: Seconds after which a loop that sleeps is woken by the test, which then fails.
PATIENCE = 10


class SignalBeforeSleep:
    """A poller before whose first sleep a signal comes, so late that Python calls its handler only
    after the sleep.

    Python looks for signals between two steps of its own; raising one and sleeping is one step
    here.
    """

    def __init__(self, poller, number):
        self._poller = poller
        self._number = number
        self._raise = ctypes.PyDLL(None)['raise']

    def __getattr__(self, name):
        return getattr(self._poller, name)

    def poll(self, seconds):
        if seconds == 0 or self._number is None:
            return self._poller.poll(seconds)
        number, self._number = self._number, None
        steps = partial(self._raise, int(number)), partial(self._poller._epoll.poll, seconds)
        return list(map(methodcaller('__call__'), steps))[1]


@contextmanager
def handled(number, handler):
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def run(loop):
    """Run a loop until it is stopped; return whether it had to be woken."""
    woken = []
    timer = threading.Timer(PATIENCE, lambda: (woken.append(True), loop.stop()))
    timer.start()
    try:
        loop.run()
    finally:
        timer.cancel()
        loop.close()
    return bool(woken)


def signalled(number):
    poller = SignalBeforeSleep(new_poller(), number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('ZEO.net.loop.new_poller', lambda: poller)
        return Loop()


@pytest.mark.skipif(sys.platform != 'linux', reason='the poller is epoll')
def test_a_stop_signal_that_comes_just_before_the_loop_sleeps_is_not_lost():
    loop = signalled(signal.SIGUSR1)
    with handled(signal.SIGUSR1, lambda number, frame: loop.stop()):
        assert not run(loop)


@pytest.mark.skipif(sys.platform != 'linux', reason='the poller is epoll')
def test_nor_is_a_signal_whose_handler_posts_something():
    loop = signalled(signal.SIGHUP)
    with handled(signal.SIGHUP, lambda number, frame: loop.from_thread(loop.stop)):
        assert not run(loop)


@pytest.mark.skipif(sys.platform != 'linux', reason='the poller is epoll')
def test_where_a_program_watches_signals_itself_its_descriptor_stays_and_the_signal_is_seen():
    loop = signalled(signal.SIGUSR1)
    mine, its_end = socket.socketpair()
    with mine, its_end:
        its_end.setblocking(False)
        mine.settimeout(PATIENCE)
        assert signal.set_wakeup_fd(its_end.fileno()) == -1
        try:
            with handled(signal.SIGUSR1, lambda number, frame: loop.stop()):
                assert not run(loop)
            assert mine.recv(1) == bytes([signal.SIGUSR1])
        finally:
            assert signal.set_wakeup_fd(-1) == its_end.fileno()


def test_afterwards_signals_go_nowhere_again():
    loop = Loop()
    loop.stop()
    loop.run()
    loop.close()
    assert signal.set_wakeup_fd(-1) == -1


def test_a_descriptor_that_was_set_while_the_loop_ran_stays():
    loop = Loop()
    mine, its_end = socket.socketpair()
    with mine, its_end:
        its_end.setblocking(False)
        loop.from_thread(lambda: signal.set_wakeup_fd(its_end.fileno()))
        loop.stop()
        loop.run()
        loop.close()
        assert signal.set_wakeup_fd(-1) == its_end.fileno()


def test_a_handler_in_the_main_thread_stops_a_loop_in_another():
    loop = Loop()
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    with handled(signal.SIGUSR1, lambda number, frame: loop.stop()):
        os.kill(os.getpid(), signal.SIGUSR1)
        thread.join(PATIENCE)
    assert not thread.is_alive()
    loop.close()


def test_three_hundred_stop_signals_at_any_moment():
    program = textwrap.dedent("""
        import os, random, signal, sys, threading, time
        from ZEO.net.loop import Loop

        random.seed(1)
        for number in range(300):
            loop = Loop()
            signal.signal(signal.SIGTERM, lambda number, frame: loop.stop())

            def send(pause=random.random() * 0.003):
                time.sleep(pause)
                os.kill(os.getpid(), signal.SIGTERM)
            thread = threading.Thread(target=send)
            woken = threading.Timer(10, lambda: os._exit(7))
            thread.start()
            woken.start()
            loop.run()
            woken.cancel()
            thread.join()
            loop.close()
    """)
    result = subprocess.run(
        [sys.executable, '-c', program], env={**os.environ, 'PYTHONPATH': SOURCES}, timeout=60
    )
    assert result.returncode == 0
