"""The process of a server, which start.py and runzeo share: from its options to its end.

Enters: the options of a command line, and signals. Leaves: a server that serves until a signal
comes; then nothing of it. Fails: :class:`ConfigurationError` of one line; what was begun is undone.
"""

from __future__ import annotations

import gc
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ZEO.commands.pid_file import PidFile
from ZEO.commands.process_log import log_start
from ZEO.commands.profiling import check_profile, profiled
from ZEO.commands.signals import Handler, Signals
from ZEO.commands.standstill import Standstill
from ZEO.commands.watching import Watching
from ZEO.config.server import STOP_TIME, check_addresses, listen
from ZEO.config.storages import close_all
from ZEO.net.activation import for_monitor, inherited, join
from ZEO.net.addresses import show
from ZEO.net.notifications import Supervisor
from ZEO.serving import descriptors
from ZEO.serving.limits import Limits
from ZEO.StorageServer import StorageServer

log = logging.getLogger('ZEO.runzeo')

#: The method that handles each signal, of those that a class has.
HANDLERS = {
    signal.SIGTERM: 'handle_sigterm',
    signal.SIGINT: 'handle_sigint',
    signal.SIGHUP: 'handle_sighup',
    signal.SIGUSR2: 'handle_sigusr2',
}


class ServerProcess(ABC):
    """The life of a server's process, with a method for each step.

    :param options: has ``addresses``, ``pid_file``, ``profile`` and ``served_with()``, and perhaps
        ``stop_time``.
    """

    def __init__(self, options: Any) -> None:
        self.options = options
        self.storages: dict[str, Any] = {}
        self.server: StorageServer | None = None
        self._signals = Signals(getattr(options, 'stop_time', STOP_TIME))
        self._installed = ExitStack()  # the handlers of signals
        self._pid_file: PidFile | None = None
        self.supervisor = Supervisor()

    @property
    def addresses(self) -> list[Any]:
        """Where to listen: sockets that a supervisor has opened, and what the options say."""
        return join(self.options.addresses, inherited())

    def main(self) -> None:
        """Serve until a signal comes.

        :raises ConfigurationError: when the server cannot start.
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
            self.supervisor.status('opening storages')
            self.open_storages()
            self.create_server()
            self.loop_forever()

    def setup_default_logging(self) -> None:
        """Set up logging, and log the start."""
        log_start()

    def setup_signals(self) -> None:
        """Handle signals from now on, those for which this class has a method."""
        handlers = {
            number: _without_arguments(getattr(self, name))
            for number, name in HANDLERS.items()
            if hasattr(self, name)
        }
        self._installed.enter_context(self._signals.installed(handlers))

    def handle_sigterm(self) -> None:
        """End the server."""
        self.stop(signal.SIGTERM)

    def handle_sigint(self) -> None:
        """End the server."""
        self.stop(signal.SIGINT)

    def stop(self, number: signal.Signals) -> None:
        """End the server, since this signal has come."""
        self._signals.on_stop(number, None)
        if self.server is not None:
            self.server.post(self._say_that_it_stops)

    def _say_that_it_stops(self) -> None:
        self.supervisor.send('STOPPING=1', 'STATUS=waiting for clients to finish')

    def check_socket(self) -> None:
        """Find out whether the addresses can be listened on, and the profile be written.

        :raises ConfigurationError: when one of them cannot.
        """
        check_addresses(self.addresses)
        check_profile(self.options.profile)

    def clear_socket(self) -> None:  # noqa: B027 - a step for those who override it
        """Remove the socket file of a killed server; :meth:`check_socket` has done so."""

    def make_pidfile(self) -> None:
        """Write this process's id to the file of the options, if they name one.

        :raises ConfigurationError: when it cannot be written.
        """
        if self.options.pid_file:
            self._pid_file = PidFile(self.options.pid_file)

    @abstractmethod
    def open_storages(self) -> None:
        """Open the storages.

        :raises ConfigurationError: when one cannot be opened.
        """

    def create_server(self) -> None:
        """Listen.

        :raises ConfigurationError: when that cannot be.
        """
        options = self.options.served_with()
        monitors = join(options.get('monitor_address') or (), for_monitor())
        options['monitor_address'] = monitors or None
        use_all_files(options.get('limits', Limits()))
        # what a storage on a network has changed last may be long in coming
        with self._signals.interruptible():
            self.server = listen(self.addresses, self.storages, **options)

    def loop_forever(self) -> None:
        """Serve until a signal comes."""
        server = self.server
        assert server is not None
        if self._pid_file is not None:
            self._pid_file.serving()
        for address in server.addresses:
            log.info('listening on %s', show(address))
        for name, storage in server.storages.items():
            log.info('serving storage %s: %s %s', name, type(storage).__name__, storage.getName())
        self._signals.watch(server)
        server.post(Watching(server, self.supervisor).begin)
        noticed = Standstill(server, self.supervisor).noticed()
        with profiled(self.options.profile), _here_to_stay(), noticed:
            server.serve_forever()
        self.supervisor.send('STOPPING=1', 'STATUS=closing storages')
        log.info('stopped by %s', self._signals.stopped_by or 'the program')

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


@contextmanager
def _here_to_stay() -> Iterator[None]:
    """Spare garbage collections what is there now: 45,000 objects, of modules above all. To look at
    them takes 50 ms, for which clients would wait.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _without_arguments(handle: Callable[[], None]) -> Handler:
    return lambda number, frame: handle()


def use_all_files(limits: Limits) -> None:
    """Let this process open as many files as the system allows, and warn where these are too few
    for its connections.
    """
    problem = descriptors.raise_limit(limits.connections)
    if problem is not None:
        log.warning('%s', problem)
