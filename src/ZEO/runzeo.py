"""The configured server: ``runzeo -C zeo.conf``.

Enters: a command line and a configuration file.  Leaves: a running server, until SIGTERM or
SIGINT; exit status 0.  Fails: with one line on standard error, and in the log if one is
configured, and exit status 2.
"""
from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ZConfig.components.logger.loghandler import reopenFiles

from ZEO.config.command_line import read
from ZEO.config.server import Settings, open_server
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import show
from ZEO.serving.hosting import describe
from ZEO.start import OneLine, profiled

log = logging.getLogger('ZEO.runzeo')


class Signals:
    """What signals do in each part of the server's life."""

    def __init__(self) -> None:
        self.stopped_by = ''   # the name of the signal that has ended the server
        self._stop: Callable[[], None] | None = None   # what ends the server, once there is one

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals inside, those that are ignored (by nohup) apart.

        Only a process's main thread can; in another, signals stay what they are.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {signal.SIGTERM: self._on_stop, signal.SIGINT: self._on_stop,
                    signal.SIGHUP: self._on_reopen, signal.SIGUSR2: self._on_reopen}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()
                  if signal.getsignal(number) is not signal.SIG_IGN}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop_by(self, stop: Callable[[], None]) -> None:
        """From now on a signal to stop calls `stop`; before, it ends the process where it is."""
        self._stop = stop

    def _on_stop(self, number: int, frame: Any) -> None:
        if self._stop is None:
            raise SystemExit(0)   # opening a storage may take minutes
        self.stopped_by = signal.Signals(number).name
        self._stop()

    def _on_reopen(self, number: int, frame: Any) -> None:
        # In a thread: this one may be in the middle of writing to the very file.
        threading.Thread(target=_reopen_logs, daemon=True).start()


def _reopen_logs() -> None:
    try:
        reopenFiles()
    except OSError as error:
        print(f'runzeo: cannot open the log again: {describe(error)}', file=sys.stderr)
    else:
        log.info('log files reopened')


@contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Keep this process's id in a file inside; without a path, do nothing.

    :raises ConfigurationError: when it can't be written.
    """
    if not path:
        yield
        return
    try:
        with open(path, 'w', encoding='ascii') as file:
            file.write(f'{os.getpid()}\n')
    except OSError as error:
        raise ConfigurationError(f'cannot write the pid file {path}: {error.strerror}') from None
    try:
        yield
    finally:
        try:
            os.unlink(path)
        except OSError as error:   # it was moved or removed, which is nobody's harm
            log.warning('could not remove the pid file %s: %s', path, error.strerror)


def set_up_logging(found: Settings) -> None:
    """Log as configured, or else to standard error.

    :raises ConfigurationError: when a log file can't be opened.
    """
    if not found.has_eventlog:
        handler = logging.StreamHandler()
        handler.setFormatter(OneLine('%(asctime)s %(levelname)s %(name)s %(message)s'))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    for configure in found.loggers:
        try:
            configure()
        except OSError as error:
            raise ConfigurationError(f'cannot open the log: {describe(error)}') from None


def run(found: Settings, profile: str | None = None) -> None:
    """Serve until a signal comes.

    :param found: what to serve and where.
    :param profile: the file for a profile's statistics.
    :raises ConfigurationError: when the server can't start.
    """
    set_up_logging(found)
    for warning in found.warnings:
        log.warning('%s', warning)
    signals = Signals()
    with ExitStack() as stack:
        stack.enter_context(signals.installed())
        server = open_server(found)
        stack.callback(server.close)
        signals.stop_by(server.stop)
        stack.enter_context(pid_file(found.pid_file))
        for address in server.addresses:
            log.info('listening on %s', show(address))
        for name, storage in server.storages.items():
            log.info('serving storage %s: %s %s', name, type(storage).__name__, storage.getName())
        stack.enter_context(profiled(profile))
        server.serve_forever()
        log.info('stopped by %s', signals.stopped_by or 'the program')


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    :param args: the command line without the command's name; the process's own by default.
    :raises SystemExit: with status 2 when the operator has to mend something.
    """
    found = None
    try:
        switches, found = read(sys.argv[1:] if args is None else args)
        if switches.test:
            for warning in found.warnings:
                print(f'runzeo: {warning}')
            print('runzeo: the configuration is in order')
        else:
            run(found, switches.profile)
    except ConfigurationError as error:
        print(f'runzeo: {error}', file=sys.stderr)
        if found is not None and found.has_eventlog and logging.getLogger().hasHandlers():
            log.error('%s', error)
        raise SystemExit(2) from None


if __name__ == '__main__':
    main()
