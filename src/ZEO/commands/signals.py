"""Signals of a server's process: they stop it, or make it open its log files again.

Enters: signals, at any moment of a start or of the service. Leaves: a server that stops, or
SystemExit while a storage is being opened. Fails: never; a log file that cannot be opened again is
reported on standard error.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from ZEO.config.opening import one_line

log = logging.getLogger('ZEO.runzeo')

Handler = Callable[[int, Any], None]


class Stoppable(Protocol):
    """What signals need of a :class:`~ZEO.StorageServer.StorageServer`."""

    def stop(self) -> None:
        """End the service soon."""

    def drain(self, seconds: float) -> None:
        """End it once clients have finished their commits, after that many seconds at most."""

    def post(self, function: Callable[[], None]) -> None:
        """Call a function in the loop's thread, between two events."""


class Signals:
    """What signals do in each part of the server's life.

    :param stop_time: seconds that clients may take to finish their commits.
    """

    def __init__(self, stop_time: float = 0) -> None:
        self.stop_time = stop_time
        self.stopped_by = ''  # the name of the signal that has ended the server
        self._server: Stoppable | None = None  # None until it serves
        self._interruptible = False  # whether a signal may end what runs now at any point

    @contextmanager
    def installed(self, handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
        """Handle signals inside, except those that are ignored (by nohup).

        Only a process's main thread can do so; in another thread nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, handler)
            for number, handler in handlers.items()
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal to stop raise SystemExit inside: opening a storage may take minutes, and so
        may its answers before it is served.
        """
        self._interruptible = True
        try:
            if self.stopped_by:
                raise SystemExit(0)
            yield
        finally:
            self._interruptible = False

    def watch(self, server: Stoppable) -> None:
        """Let signals stop this server from now on; one that has come already stops it at once."""
        self._server = server
        if self.stopped_by:
            server.stop()

    def on_stop(self, number: int, frame: Any) -> None:
        """A handler: end the server, at the second signal without waiting for its clients."""
        is_second = bool(self.stopped_by)
        self.stopped_by = signal.Signals(number).name
        if self._interruptible:
            raise SystemExit(0)
        if self._server is not None:
            if is_second or not self.stop_time:
                self._server.stop()
            else:
                self._server.drain(self.stop_time)

    def on_reopen(self, number: int, frame: Any) -> None:
        """A handler: open the log files again, but not in the middle of writing to them."""
        if self._server is not None:
            self._server.post(reopen_logs)
            return
        with suppress(RuntimeError):  # no thread can be started; the next signal tries again
            threading.Thread(target=reopen_logs, daemon=True).start()


def reopen_logs() -> None:
    """Open the log files again, for logrotate."""
    from ZConfig.components.logger.loghandler import reopenFiles

    try:
        reopenFiles()
    except OSError as error:
        print(f'runzeo: cannot open the log again: {one_line(error)}', file=sys.stderr)
    else:
        log.info('log files reopened')
