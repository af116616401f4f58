"""What the commands that serve have in common: signals, the pid file, the log, a profile.

Enters: what an operator wrote, and signals. Leaves: a process that can be found, stopped and looked
into. Fails: :class:`ConfigurationError` of one line.
"""

from __future__ import annotations

import cProfile
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from ZEO import files
from ZEO.config.opening import one_line, start_error
from ZEO.Exceptions import ConfigurationError
from ZEO.serving import descriptors
from ZEO.serving.limits import Limits
from ZEO.version import version

log = logging.getLogger('ZEO.runzeo')

Handler = Callable[[int, Any], None]


class Stoppable(Protocol):
    """What signals need of a :class:`~ZEO.StorageServer.StorageServer`."""

    def stop(self) -> None:
        """End the service soon."""

    def post(self, function: Callable[[], None]) -> None:
        """Call a function in the loop's thread, between two events."""


class Signals:
    """What signals do in each part of the server's life."""

    def __init__(self) -> None:
        self.stopped_by = ''  # the name of the signal that has ended the server
        self._server: Stoppable | None = None  # the one that is served, once there is one
        # whether a signal may end what runs now at any point
        self._interruptible = False

    @contextmanager
    def installed(self, handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
        """Handle signals inside, those that are ignored (by nohup) apart.

        Only a process's main thread can; in another, signals stay what they are.
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
        """Let a signal to stop raise SystemExit inside, since opening a storage may take
        minutes.
        """
        self._interruptible = True
        try:
            if self.stopped_by:
                raise SystemExit(0)
            yield
        finally:
            self._interruptible = False

    def watch(self, server: Stoppable) -> None:
        """From now on signals are about this server; one that has come already stops it at once."""
        self._server = server
        if self.stopped_by:
            server.stop()

    def on_stop(self, number: int, frame: Any) -> None:
        """A handler: end the server."""
        self.stopped_by = signal.Signals(number).name
        if self._interruptible:
            raise SystemExit(0)
        if self._server is not None:
            self._server.stop()

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


class PidFile:
    """The file that names this process, for its owner only, and never behind a symbolic link.

    It is there before storages are opened. A start that fails, perhaps since another server runs
    with the same configuration, puts back what that one had written.

    :param own: is called with the path of the new file.
    """

    def __init__(self, path: str, own: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._mine = f'{os.getpid()}\n'
        self._before = self._another_process()
        try:
            self._write(self._mine)
            if own is not None:
                own(path)
        except OSError as error:
            raise start_error(
                f'cannot write the process id to {path}: {error.strerror}', error
            ) from None

    def serving(self) -> None:
        """The start has succeeded: the file is this process's alone."""
        self._before = None

    def remove(self) -> None:
        """Remove the file, unless it has become another process's."""
        try:
            if self._read() != self._mine:
                return
            if self._before is not None and self._before == self._another_process(self._before):
                self._write(self._before)
            else:
                os.unlink(self._path)
        except OSError as error:  # it was removed or moved, or the directory is not this user's
            log.warning('could not remove the pid file %s: %s', self._path, error.strerror)

    def _write(self, text: str) -> None:
        files.write_pid(self._path, text)

    def _read(self) -> str:
        return files.read_pid(self._path)

    def _another_process(self, text: str | None = None) -> str | None:
        """Return what the file says, or `text`, if that is the number of another process that
        lives.
        """
        try:
            text = self._read() if text is None else text
            number = int(text)
            if number == os.getpid() or number < 1:
                return None
            os.kill(number, 0)
        except PermissionError:  # another user's
            return text
        except (OSError, ValueError, OverflowError):
            return None
        return text


@contextmanager
def pid_file(
    path: str | None, own: Callable[[str], None] | None = None
) -> Iterator[PidFile | None]:
    """Keep this process's id in a file inside; without a path, do nothing.

    :raises ConfigurationError: when it can't be written.
    """
    file = PidFile(path, own) if path else None
    try:
        yield file
    finally:
        if file is not None:
            file.remove()


class OneLine(logging.Formatter):
    """Formats every event as one line, tracebacks and texts from clients included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return ' | '.join(super().format(record).splitlines())


def log_to_standard_error(level: int) -> None:
    """Write events of this level and above to standard error, where a program has not set up
    logging itself.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine('%(asctime)s %(levelname)s %(name)s %(message)s'))
    logging.basicConfig(level=level, handlers=[handler])


def use_all_files(limits: Limits) -> None:
    """Let this process open as many files as the system lets it, and say where these are too few
    for its connections.
    """
    problem = descriptors.raise_limit(limits.connections)
    if problem is not None:
        log.warning('%s', problem)


def log_start() -> None:
    """Say in the log which program and process this is."""
    log.info(
        'ZEO %s starts as process %d, with Python %s',
        version(),
        os.getpid(),
        platform.python_version(),
    )


@contextmanager
def profiled(path: str | None) -> Iterator[None]:
    """Write a profile of what happens inside to a file; without a path, do nothing."""
    if not path:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        try:
            profile.dump_stats(path)
        except OSError as error:
            raise ConfigurationError(f'cannot write the profile: {one_line(error)}') from None
