"""The configured server: ``runzeo -C zeo.conf``.

Enters: a command line and a configuration file.  Leaves: a running server, until SIGTERM or
SIGINT; exit status 0.  Fails: with one line on standard error, and in the log if one is
configured, and exit status 2 for what an operator has to mend, 1 for what may pass by itself.

:class:`ZEOServer` has a method for each step, which programs that start a server may replace.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from ZEO.commands.server_process import (
    Handler,
    PidFile,
    Signals,
    log_start,
    log_to_standard_error,
    profiled,
    use_all_files,
)
from ZEO.config.opening import one_line, start_error
from ZEO.config.server import Settings, check_addresses, listen
from ZEO.config.storages import close_all
from ZEO.config.zeo_options import ZEOOptions
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import show
from ZEO.serving.limits import Limits
from ZEO.StorageServer import StorageServer

__all__ = ['ZEOOptions', 'ZEOServer', 'main']

logger = logging.getLogger('ZEO.runzeo')


class ZEOServer:
    """The life of a server, step by step.

    :param options: a :class:`ZEOOptions`.
    """

    def __init__(self, options: Any) -> None:
        self.options = options
        self.storages: dict[str, Any] = {}
        self.server: StorageServer | None = None
        self._signals = Signals()
        self._installed = ExitStack()  # the handlers of signals
        self._pid_file: PidFile | None = None

    def main(self) -> None:
        """Serve until a signal comes.

        :raises ConfigurationError: when the server can't start.
        """
        self.setup_default_logging()
        with ExitStack() as stack:  # what is to be undone, the last first
            stack.callback(self._installed.close)
            self.setup_signals()
            self.check_socket()
            self.clear_socket()
            stack.callback(self.remove_pidfile)
            self.make_pidfile()
            stack.callback(self.close_server)
            self.open_storages()
            self.create_server()
            self.loop_forever()

    def setup_default_logging(self) -> None:
        """Log as configured, or else to standard error.

        :raises ConfigurationError: when a log file can't be opened.
        """
        set_up_logging(self.options.settings)
        log_start()
        for warning in self.options.settings.warnings:
            logger.warning('%s', warning)

    def setup_signals(self) -> None:
        """Handle signals from now on, those for which this class has a method."""
        names = {
            signal.SIGTERM: 'handle_sigterm',
            signal.SIGINT: 'handle_sigint',
            signal.SIGHUP: 'handle_sighup',
            signal.SIGUSR2: 'handle_sigusr2',
        }
        handlers = {
            number: _without_arguments(getattr(self, name))
            for number, name in names.items()
            if hasattr(self, name)
        }
        self._installed.enter_context(self._signals.installed(handlers))

    def handle_sigterm(self) -> None:
        """End the server."""
        self._signals.on_stop(signal.SIGTERM, None)

    def handle_sigint(self) -> None:
        """End the server."""
        self._signals.on_stop(signal.SIGINT, None)

    def handle_sighup(self) -> None:
        """Open the log files again."""
        self._signals.on_reopen(signal.SIGHUP, None)

    def handle_sigusr2(self) -> None:
        """Open the log files again."""
        self._signals.on_reopen(signal.SIGUSR2, None)

    def check_socket(self) -> None:
        """Find out whether the addresses can be listened on.

        :raises ConfigurationError: when one can't.
        """
        check_addresses(self.options.addresses)

    def clear_socket(self) -> None:
        """Remove the socket file of a killed server; :meth:`check_socket` has done so."""

    def make_pidfile(self) -> None:
        """Write this process's id to the configured file, if there is one.

        :raises ConfigurationError: when it can't be written.
        """
        if self.options.pid_file:
            self._pid_file = PidFile(self.options.pid_file)

    def open_storages(self) -> None:
        """Open the storages.

        :raises ConfigurationError: when one can't be opened.
        """
        for name, factory in self.options.factories().items():
            with self._signals.interruptible():
                self.storages[name] = factory.open()

    def create_server(self) -> None:
        """Listen.

        :raises ConfigurationError: when that can't be.
        """
        options = self.options.served_with()
        use_all_files(options.get('limits', Limits()))
        self.server = listen(self.options.address, self.storages, **options)

    def loop_forever(self) -> None:
        """Serve until a signal comes."""
        server = self.server
        assert server is not None
        if self._pid_file is not None:
            self._pid_file.serving()
        for address in server.addresses:
            logger.info('listening on %s', show(address))
        for name, storage in server.storages.items():
            logger.info(
                'serving storage %s: %s %s', name, type(storage).__name__, storage.getName()
            )
        self._signals.watch(server)
        with profiled(self.options.profile):
            server.serve_forever()
        logger.info('stopped by %s', self._signals.stopped_by or 'the program')

    def close_server(self) -> None:
        """End the connections and close the storages."""
        if self.server is not None:
            self.server.close()
        else:
            close_all(self.storages.values())

    def remove_pidfile(self) -> None:
        """Remove the file with this process's id."""
        if self._pid_file is not None:
            self._pid_file.remove()


def _without_arguments(handle: Callable[[], None]) -> Handler:
    return lambda number, frame: handle()


def set_up_logging(found: Settings) -> None:
    """Log as configured, or else to standard error.

    :raises ConfigurationError: when a log file can't be opened.
    """
    if not found.has_eventlog:
        log_to_standard_error(logging.INFO)
    for configure in found.loggers:
        try:
            configure()
        except OSError as error:
            raise start_error(f'cannot open the log: {one_line(error)}', error) from None


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    :param args: the command line without the command's name; the process's own by default.
    :raises SystemExit: with status 2 when an operator has to mend something, 1 when that may pass
        by itself.
    """
    options = ZEOOptions()
    try:
        options.realize(args)
        if options.test:
            for warning in options.settings.warnings:
                print(f'runzeo: {warning}')
            print('runzeo: the configuration is in order')
        else:
            ZEOServer(options).main()
    except ConfigurationError as error:
        print(f'runzeo: {error}', file=sys.stderr)
        if options.settings.has_eventlog and logging.getLogger().hasHandlers():
            logger.error('%s', error)
        raise SystemExit(2 if options.test else error.exit_status) from None


if __name__ == '__main__':
    main()
