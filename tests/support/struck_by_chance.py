"""A client in whose threads exceptions strike at moments that nothing has chosen: ``python -m
support.struck_by_chance (signals|threads) (Limit|SoftLimit) SECONDS``.

``signals``: a handler raises in the main thread. ``threads``: another thread throws. Enters: the
command line. Leaves: exit status 0 when the client was right all the time. Fails: with a traceback,
or those of all threads when something hangs.

Such an exception may strike in the middle of Python's own modules as well, and leave their locks
held: that of a log handler, or of an import. So this has a process of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from support.interrupted import OIDS, PATIENCE, Setting, check, patiently


class Limit(BaseException):
    """The time of a request is over."""


class SoftLimit(Exception):
    """The same, which applications catch by accident."""


def attempt(setting: Setting, client: Any, oids: Any) -> None:
    """Commit, as a thread does that may be struck anywhere."""
    try:
        setting.commit(client, oids, {oid: client.load(oid)[1] for oid in oids})
    except (Limit, SoftLimit):
        pass


class Other:
    """A thread that is never struck."""

    def __init__(self, client: Any) -> None:
        self.ended = False
        self.rounds = 0

        def run() -> None:
            while not self.ended:
                patiently(client.ping)
                patiently(lambda: client.load(OIDS[-1]))
                self.rounds += 1

        self.thread = threading.Thread(target=run, daemon=True)

    def __enter__(self) -> Other:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), 'the other thread hangs'


class Signals:
    """A thread that signals this process, at random moments a few milliseconds apart."""

    def __init__(self, chance: random.Random) -> None:
        self._ended = threading.Event()

        def run() -> None:
            while not self._ended.wait(chance.uniform(0.0002, 0.02)):
                os.kill(os.getpid(), signal.SIGUSR1)

        self._thread = threading.Thread(target=run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        while self._thread.is_alive():
            with contextlib.suppress(Limit, SoftLimit):
                self._ended.set()
                self._thread.join(1)


def signals(setting: Setting, error: type[BaseException], seconds: float) -> None:
    """Be struck in the main thread, every few milliseconds, while another thread uses the same
    client.
    """
    client, chance, struck = setting.open(), random.Random(7), 0

    def strike(number: int, frame: Any) -> None:
        nonlocal struck
        struck += 1
        raise error

    signal.signal(signal.SIGUSR1, strike)
    until = time.monotonic() + seconds
    with Other(client) as other:
        with Signals(chance):
            while time.monotonic() < until:
                with contextlib.suppress(error, Exception):
                    # of the application's, as a conflict with what was interrupted
                    while time.monotonic() < until:
                        attempt(setting, client, OIDS[:2])
        rounds = other.rounds
        check(setting, client)
        wait_until(lambda: other.rounds > rounds)
    assert struck > 10
    finish(setting, client)


def threads(setting: Setting, error: type[BaseException], seconds: float) -> None:
    """Be struck in a thread by what another one throws in."""
    client, chance, ended = setting.open(), random.Random(7), []

    def suffer() -> None:
        while not ended:
            with contextlib.suppress(error, Exception):
                while not ended:
                    attempt(setting, client, OIDS[:2])

    victim = threading.Thread(target=suffer, daemon=True)
    victim.start()
    until, struck = time.monotonic() + seconds, 0
    with Other(client) as other:
        while time.monotonic() < until:
            time.sleep(chance.uniform(0, 0.05))
            if not victim.is_alive():  # struck outside of what it suppresses
                victim = threading.Thread(target=suffer, daemon=True)
                victim.start()
            struck += ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(victim.ident or 0), ctypes.py_object(error)
            )
        rounds = other.rounds
        wait_until(lambda: other.rounds > rounds)
        ended.append(True)
        victim.join(PATIENCE)
        assert not victim.is_alive(), 'the struck thread hangs'
        check(setting, client)
    assert struck > 10
    finish(setting, client)


def finish(setting: Setting, client: Any) -> None:
    """What was struck commits, and leaves a cache to the next client."""
    setting.commit(client)
    client.close()
    check(setting, setting.open())


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, 'it hangs'
        time.sleep(0.002)


def main(how: str, error: str, seconds: str) -> None:
    """Do what the command line says."""
    faulthandler.dump_traceback_later(float(seconds) + 3 * PATIENCE, exit=True)
    # A thread that is struck while it logs would keep the lock of the handler.
    logging.Logger.isEnabledFor = lambda self, level: False  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp') as directory:
        setting = Setting(directory, disk=True)
        {'signals': signals, 'threads': threads}[how](
            setting, {'Limit': Limit, 'SoftLimit': SoftLimit}[error], float(seconds)
        )
        setting.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
