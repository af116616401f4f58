"""The configured server: ``runzeo -C zeo.conf``.

Enters: a command line and a configuration file. Leaves: a running server, until SIGTERM or SIGINT;
exit status 0. Fails: with one line on standard error, and in the log if one is configured, and
exit status 2 for what an operator has to correct, 1 for what may pass by itself.

:class:`ZEOServer` has a method for each step, which programs that start a server may replace.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence

from ZEO.commands.options import complain, program, shown
from ZEO.commands.process_log import log_as_configured, log_start
from ZEO.commands.reloading import Reloading
from ZEO.commands.server_process import ServerProcess
from ZEO.commands.zeo_options import ZEOOptions
from ZEO.Exceptions import ConfigurationError

__all__ = ['ZEOOptions', 'ZEOServer', 'main']

#: The command, unless it is called otherwise.
NAME = 'runzeo'

log = logging.getLogger('ZEO.runzeo')


class ZEOServer(ServerProcess):
    """The life of a server, step by step.

    :param options: a :class:`ZEOOptions`.
    """

    def setup_default_logging(self) -> None:
        """Log as configured, or else to standard error.

        :raises ConfigurationError: when a log file cannot be opened.
        """
        log_as_configured(self.options.settings)
        log_start()
        for warning in self.options.settings.warnings:
            log.warning('%s', warning)

    def __init__(self, options: ZEOOptions) -> None:
        super().__init__(options)
        self._reloading = Reloading(self.supervisor)

    def handle_sighup(self) -> None:
        """Open the log files again, and read the configuration and the passwords again."""
        self._signals.on_reopen(signal.SIGHUP, None)
        self._reloading.signalled()

    def handle_sigusr2(self) -> None:
        """Open the log files again."""
        self._signals.on_reopen(signal.SIGUSR2, None)

    def stop(self, number: signal.Signals) -> None:
        """End the server; clients have the time that was configured last."""
        if self._reloading.stop_time is not None:
            self._signals.stop_time = self._reloading.stop_time
        super().stop(number)

    def open_storages(self) -> None:
        """Open the storages.

        :raises ConfigurationError: when one cannot be opened.
        """
        for name, factory in self.options.factories().items():
            with self._signals.interruptible():
                self.storages[name] = factory.open()

    def loop_forever(self) -> None:
        """Serve until a signal comes."""
        assert self.server is not None
        options = self.options
        self._reloading.watch(
            self.server, options.configfile, (options.settings, options.settings_again)
        )
        super().loop_forever()


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    :param args: the command line without the command's name; the process's own by default.
    :raises SystemExit: with status 2 when an operator has to correct something, 1 when the same
        start may succeed later.
    """
    options = ZEOOptions()
    try:
        options.realize(args)
        if options.test:
            for warning in options.settings.warnings:
                print(f'{program(NAME)}: {shown(warning)}')
            print(f'{program(NAME)}: the configuration is in order')
        else:
            ZEOServer(options).main()
    except ConfigurationError as error:
        complain(program(NAME), error)
        if options.settings.has_eventlog and logging.getLogger().hasHandlers():
            log.error('%s', error)
        raise SystemExit(2 if options.test else error.exit_status) from None


if __name__ == '__main__':
    main()
