#!/usr/bin/env python3
"""The classic command: ``start.py -p 9100``, ``start.py -U /run/zeo.sock -S 1=/stores/fs:Storage``.

Enters: switches, ``NAME=VALUE`` arguments for the environment, the name of a FileStorage's file.
Leaves: a running server, until SIGINT, SIGTERM or SIGHUP; lines on standard output that say where
it listens and what it serves; exit status 0. Fails: with one line on standard error, and exit
status 2 for what an operator has to correct, 1 for what may pass by itself.
"""

import os
import sys

if __package__ in (None, ''):
    # Run as a file: its directory, which Python has put first on the path, would make modules of
    # the package pass for top-level ones; the directory above is where `import ZEO` finds them.
    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or '.') != _here]
    sys.path.insert(0, os.path.dirname(_here))

import logging
import signal
from collections.abc import Sequence

from ZEO.commands.options import complain, program
from ZEO.commands.pid_file import PidFile
from ZEO.commands.process_log import log_start, log_to_standard_error
from ZEO.commands.server_process import ServerProcess
from ZEO.commands.start_switches import LOOPBACK, Options, parse
from ZEO.commands.user import User
from ZEO.config.storages import open_storages
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import show

__all__ = ['main']


class ClassicServer(ServerProcess):
    """A server as start.py's switches describe it.

    :raises ConfigurationError: when this process cannot become the user that they name.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._user = User(options.user)

    def setup_default_logging(self) -> None:
        """Log to standard error."""
        options = self.options
        log_to_standard_error(
            logging.DEBUG if options.debug else options.log_level, options.log_format
        )
        log_start()

    def handle_sighup(self) -> None:
        """End the server."""
        self.stop(signal.SIGHUP)

    def make_pidfile(self) -> None:
        """Write this process's id to the file of the environment, which becomes the user's."""
        if self.options.pid_file:
            self._pid_file = PidFile(self.options.pid_file, self._user.own)

    def open_storages(self) -> None:
        """Open the storages with the user's rights."""
        with self._signals.interruptible(), self._user.for_a_while():
            options = self.options
            self.storages = open_storages(
                options.storages, options.file_name, grouped=not options.no_group_commit
            )

    def create_server(self) -> None:
        """Listen, and become the user."""
        super().create_server()
        for path in self.options.sockets:
            self._user.own(path)
        self._user.for_good()

    def loop_forever(self) -> None:
        """Print where the server listens and what it serves, and serve until a signal comes."""
        assert self.server is not None
        for address in self.server.addresses:
            local = isinstance(address, tuple) and address[0] in (LOOPBACK, '::1')
            note = " (this machine only; -h '' listens on every network)" if local else ''
            print(f'Listening on {show(address)}{note}', flush=True)
        for name, storage in self.server.storages.items():
            kind = getattr(storage, 'shown_as', type(storage).__name__)
            print(f'Serving storage {name}: {kind} {storage.getName()}', flush=True)
        super().loop_forever()


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 2 for what an operator has to correct, 1 for
    what may pass.

    :param args: the command line without the command's name; the process's own by default.
    :raises SystemExit: after ``--help`` and ``--version``.
    """
    args = sys.argv[1:] if args is None else args
    try:
        options = parse(args or ['--help'])
        os.environ.update(options.environment)
        ClassicServer(options).main()
    except ConfigurationError as error:
        complain(program('start.py'), error)
        return error.exit_status
    return 0


if __name__ == '__main__':
    sys.exit(main())
