"""The storage server: one thread, one loop, any number of storages, listeners and clients.

Enters: addresses to listen on and storages to serve. Leaves: their service, from
:meth:`StorageServer.serve_forever` until :meth:`StorageServer.stop`. Fails: ConfigurationError in
the constructor, for an address that cannot be listened on or an object that is not a storage;
later, nothing that one client does ends the service of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.interfaces import Closed, Serving, notify
from ZEO.net import addresses
from ZEO.net.acceptor import Acceptor
from ZEO.net.addresses import Address
from ZEO.net.loop import Loop
from ZEO.net.system import REAL, System
from ZEO.net.tls import SSLContext
from ZEO.net.unix_sockets import BY_UMASK, FileRights
from ZEO.serving import descriptors, doors, leftovers
from ZEO.serving.access.access import Access
from ZEO.serving.access.attempts import Attempts
from ZEO.serving.access.checks import (
    Situation,
    check_restricted,
    check_rules,
    effective,
    warn,
)
from ZEO.serving.access.proving import Passwords
from ZEO.serving.access.secrets import Secrets
from ZEO.serving.account import Budget
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.intake import Intake
from ZEO.serving.limits import Limits
from ZEO.serving.monitor.monitor import Monitor
from ZEO.serving.options import ServingOptions
from ZEO.serving.read_ahead.shared import NETWORK
from ZEO.serving.reception import Reception
from ZEO.serving.resolve import DEFAULT_MODULES
from ZEO.serving.service import Service
from ZEO.serving.slow import SlowTimes
from ZEO.serving.stopping import Stopping
from ZEO.serving.workers import Workers
from ZEO.wire import messages

__all__ = ['Access', 'Closed', 'Limits', 'Serving', 'StorageServer']

log = logging.getLogger('ZEO.StorageServer')


class StorageServer:
    """Serves `storages` at `addr`.

    :param addr: one address or a list of them: ``(host, port)``, a port number, the path of a Unix
        socket. Port 0 picks one.
    :param storages: name -> storage, of any kind that implements IStorage.
    :param read_only: refuse all writes.
    :param invalidation_queue_size: how many transactions are remembered for clients that come back.
    :param invalidation_age: seconds; older ones are looked up in a storage that can be iterated, up
        to this age.
    :param transaction_timeout: seconds for which a client may hold a commit lock; None: no limit.
    :param ssl: an ``ssl.SSLContext`` to speak TLS.
    :param client_conflict_resolution: leave all conflicts to the clients.
    :param msgpack: speak the protocol M5 instead of Z5.
    :param limits: what a client may cost.
    :param conflict_modules: packages whose classes may be loaded to resolve conflicts here.
    :param unix_access: who may connect to the Unix sockets.
    :param access: what each client may do; without it, every client may do everything.
    :param password_file: the file of users and of what checks their passwords, which ``zeo passwd``
        writes.
    :param poll_interval: seconds between two looks at a database that others may change.
    :param notify: hear of them at once, by the trigger in PostgreSQL that ``zeo notify`` installs.
    :param wait_for_replicas: how many followers must have a transaction on disk before its commit
        is answered, and before other clients see it.
    :param replica_timeout: seconds that a commit waits for them.
    :param replica_timeout_action: ``'warn'`` to go on without them then; ``'refuse'`` to refuse
        commits until they are back.
    :param fence: serve read-only until this number of followers follow the server.
    :param read_ahead: which clients are sent records before they ask for them: ``'network'``, those
        that have not connected over a Unix socket, and all of a storage in an SQL database or on
        another server; ``'always'``, all; ``'off'``, none.
    :param slow: from when on commits, loads and packs have a line in the log.
    :param monitor_address: one address or several, as `addr`, for figures over HTTP.
    :raises ConfigurationError: when it cannot listen, or something to serve is not a storage.
    """

    def __init__(
        self,
        addr: object,
        storages: Mapping[str, Any],
        read_only: bool = False,
        invalidation_queue_size: int = 100,
        invalidation_age: float | None = None,
        transaction_timeout: float | None = 30,
        ssl: Any = None,
        client_conflict_resolution: bool = False,
        msgpack: bool = False,
        limits: Limits = Limits(),
        conflict_modules: Iterable[str] = DEFAULT_MODULES,
        system: System = REAL,
        unix_access: FileRights = BY_UMASK,
        access: Access | None = None,
        password_file: str | None = None,
        poll_interval: float = 0.2,
        notify: bool = False,
        wait_for_replicas: int = 0,
        replica_timeout: float = 10.0,
        replica_timeout_action: str = 'warn',
        fence: int = 0,
        slow: SlowTimes = SlowTimes(),
        monitor_address: object = None,
        read_ahead: str = NETWORK,
    ) -> None:
        given = locals()  # each argument by its name
        if not storages:
            raise ConfigurationError('there is no storage to serve')
        secrets = None if password_file is None else Secrets(password_file)
        situation = Situation(storages, ssl=ssl, has_passwords=secrets is not None)
        access = effective(access, situation)
        check_rules(access, situation)
        monitors = [] if monitor_address is None else addresses.parse_all(monitor_address)
        options = ServingOptions.from_arguments(given)
        doors.close()
        self.storages = dict(storages)
        self.limits = limits
        self._protocol = messages.codec(b'M5' if msgpack else b'Z5').name
        self._begin(system)
        try:
            self._host(options, access, ssl)
            if secrets is not None:
                self._service.passwords = Passwords(secrets, Attempts(system.now), self._loop)
            self._open(addr, unix_access)
        except BaseException:
            self._give_up()
            raise
        self.monitor.listen(monitors, unix_access)

    def _begin(self, system: System) -> None:
        """Make the loop, which no thread runs yet, and what is known of it."""
        self._loop = Loop(system, self.limits.turn)
        self._loop.task_was_lost = self._start_afresh
        self._loop.reports.lines.open()
        self._acceptors: list[Acceptor] = []
        self._ended = system.event()  # set while no thread runs the loop
        self._ended.set()
        self._thread: int | None = None  # the thread that runs it
        self._closed = False
        self.is_stopping = False  # whether it only waits for its clients to leave

    def _give_up(self) -> None:
        """Close what the constructor has opened; the storages are the caller's."""
        self._stop_listening()
        self._loop.close()
        self._loop.reports.lines.close()

    def _host(self, options: ServingOptions, access: Access | None, ssl: Any) -> None:
        """Make what serves each storage, and what all connections share."""
        workers = Workers(self._loop)
        self.hosted = {
            name: HostedStorage(name, storage, self._loop, workers, options)
            for name, storage in self.storages.items()
        }
        intake = Intake(self._loop, Budget(self.limits.shared_memory))
        self._service = Service(self.hosted, self._loop, intake, self.limits.handshake_time, access)
        for hosted in self.hosted.values():
            hosted.stats.denied = self._service.denied
        self._reception = Reception(self._service, self.limits, self._protocol, ssl)
        self._peers = self._reception.peers
        self.monitor = Monitor(
            self._service, self._reception, lambda: self.is_stopping or self._closed
        )

    def __repr__(self) -> str:
        state = 'serving' if not self._ended.is_set() else 'not serving'
        state = 'closed' if self._closed else 'about to stop' if self.is_stopping else state
        where = ', '.join(map(addresses.show, self.addresses))
        return f'<StorageServer at {where}, storages {", ".join(self.storages)}: {state}>'

    @property
    def addresses(self) -> list[Address]:
        """What it listens on."""
        return [acceptor.address for acceptor in self._acceptors]

    @property
    def addr(self) -> Address:
        """The first address that it listens on."""
        return self._acceptors[0].address

    @property
    def monitor_addresses(self) -> list[Address]:
        """Where it answers over HTTP, for monitoring."""
        return self.monitor.addresses

    def serve_forever(self) -> None:
        """Serve until :meth:`stop`."""
        self._ended.clear()
        self._thread = self._loop.system.this_thread()
        try:
            with doors.entered():
                self._loop.run()
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Have :meth:`serve_forever` return soon; from any thread or signal handler."""
        self._loop.stop()

    def drain(self, seconds: float) -> None:
        """The same once clients have finished their commits: they are sent that the server stops,
        and no more are accepted.

        :param seconds: that they may take.
        """
        self.post(partial(self._drain, seconds))

    def _drain(self, seconds: float) -> None:
        if not self.is_stopping:
            self.is_stopping = True
            self._stop_listening()
            Stopping(self._loop, self._peers, seconds, self.stop).begin()

    def post(self, function: Callable[[], None]) -> None:
        """Have `function` called in the loop's thread; from any thread or signal handler."""
        self._loop.from_thread(function)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Have `function` called after that many seconds; in the loop's thread."""
        self._loop.later(seconds, function)

    @property
    def access(self) -> Access | None:
        """What each client may do; None: every client may do everything."""
        return self._service.access

    def allow(
        self, access: Access | None, restricted: bool = False, ssl: SSLContext | None = None
    ) -> None:
        """Have other rules from now on, and end the connections of clients that may do less by
        them; to be called in the loop's thread (:meth:`post`).

        :param restricted: refuse rules by which everyone may use the server.
        :param ssl: another context for clients that connect from now on.
        :raises ConfigurationError: for these, and for rules that no client can match, or that never
            count; then nothing changes.
        """
        if ssl is not None and self._reception.ssl is None:
            raise ConfigurationError('only a restart can switch TLS on')
        situation = self._situation(ssl or self._reception.ssl)
        access = effective(access, situation)
        check_rules(access, situation)
        if restricted:
            check_restricted(access, situation)
        self._reception.ssl = situation.ssl
        if access == self.access:
            return
        self._service.access = access
        warn(access, situation)
        for peer in list(self._peers):
            peer.check_right()

    def use_limits(self, limits: Limits) -> None:
        """Have other limits from now on, those of one client for clients that connect from now on;
        in the loop's thread (:meth:`post`).
        """
        self.limits = limits
        self._reception.use(limits)
        for hosted in self.hosted.values():
            hosted.limits = limits
            if hosted.backend.records is not None:
                hosted.backend.records.resize(limits.record_memory)

    def use_times(self, slow: SlowTimes, transaction_timeout: float | None) -> None:
        """Have other times from now on, as the constructor takes them; in the loop's thread."""
        for hosted in self.hosted.values():
            hosted.slow.times = slow
            hosted.transaction_timeout = transaction_timeout

    def reload_passwords(self) -> frozenset[str] | None:
        """Read the password file again, and end the connections of users that are gone, or whose
        password was set again; to be called in the loop's thread (:meth:`post`).

        :returns: those users; None for a server without passwords.
        :raises ConfigurationError: when it cannot be used; then nothing changes.
        """
        passwords = self._service.passwords
        if passwords is None:
            return None
        changed = passwords.secrets.reload()
        for peer in list(self._peers):
            if peer.user in changed:
                peer.close('closed by this server: the password of its user was changed')
        return changed

    def close(self) -> None:
        """Close everything: listeners, connections, storages. Wait for :meth:`serve_forever` in
        another thread to return.
        """
        if self._closed:
            return
        self._closed = True
        self.stop()
        if self._thread != self._loop.system.this_thread():
            self._ended.wait(60)
        self._stop_listening()
        self.monitor.close()
        for peer in list(self._peers):
            peer.close('the server stops')
        self._loop.close()
        for hosted in self.hosted.values():
            try:
                hosted.close()
            except Exception:  # the others are to be closed all the same
                log.exception('the storage %s failed to close', hosted.name)
        self._loop.reports.lines.close()
        notify(Closed(self))

    def _start_afresh(self) -> None:
        """There was no memory for a task: no client is to wait for what it was to do."""
        attempt = self._loop.attempt
        for hosted in self.hosted.values():
            attempt(hosted.start_afresh)
        for peer in tuple(self._peers):  # also those of which the end was begun before
            attempt(partial(peer.close, 'closed by this server: it had no memory for a task'))
        for hosted in self.hosted.values():
            attempt(hosted.take_back)

    def _open(self, addr: object, rights: FileRights) -> None:
        """Listen, remove what killed servers have left, and announce it."""
        self._listen(addresses.parse_all(addr), rights)
        descriptors.find_temporary_directory()
        now = self._loop.system.wall_clock()
        for hosted in self.hosted.values():
            leftovers.remove_of(hosted.storage, hosted.name, now)
        notify(Serving(self, address=self.addr))

    def _listen(self, wanted: Iterable[Address], rights: FileRights) -> None:
        for address in wanted:
            for listener in addresses.listen(address, rights):
                self._acceptors.append(Acceptor(self._loop, listener, self._reception.accepted))
        warn(self.access, self._situation(self._reception.ssl))

    def _situation(self, ssl: SSLContext | None) -> Situation:
        """Return what rules of access have to be about."""
        has_passwords = self._service.passwords is not None
        return Situation(self.storages, self.addresses, ssl, has_passwords)

    def _stop_listening(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
