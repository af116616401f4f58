"""Rules, passwords, certificates and settings of a running server, read from their files again.

Enters: a signal, at any moment. Leaves: other rules, by which clients that may do less are closed;
a line in the log that says what has changed. Fails: never; where a file cannot be used, the log
says why, and everything stays as it was.

The configuration file is read in a thread of its own: an address of the network, or the names of
users in a directory service, may take long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

from ZEO.commands.reloaded import Reloaded
from ZEO.config.loading import absolute, load
from ZEO.config.opening import one_line
from ZEO.config.server import Settings, access_of, tls_again
from ZEO.Exceptions import ConfigurationError
from ZEO.net.notifications import Supervisor
from ZEO.net.system import REAL
from ZEO.net.tls import SSLContext
from ZEO.serving.access.access import Access
from ZEO.serving.access.checks import BY_PASSWORD
from ZEO.StorageServer import StorageServer
from ZEO.wire.quoting import cleaned

log = logging.getLogger('ZEO.runzeo')

#: Characters of the line about what has changed.
_LINE = 1000


class Reloading:
    """Reads again what a server was started with."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._settings: Callable[[], Settings] | None = None  # reads all of them again
        self._rest: Reloaded | None = None  # what is neither a rule nor a password
        self._url: str | None = None
        self._server: StorageServer | None = None  # None until it serves
        self._due = False  # whether a signal has come before that
        self._reading = False  # whether the thread is at work
        self._again = False  # whether a signal has come meanwhile

    @property
    def stop_time(self) -> float | None:
        """Seconds that clients may take when the server stops, as read last; None before."""
        return None if self._rest is None else self._rest.stop_time

    def watch(
        self,
        server: StorageServer,
        url: str | None,
        settings: tuple[Settings, Callable[[], Settings]] | None = None,
    ) -> None:
        """Give other rules and settings to this server from now on.

        :param url: of the configuration file; None where there is none.
        :param settings: what it was started with, and what reads that again.
        """
        self._url = None if url is None else absolute(url)
        self._server = server
        if settings is not None:
            self._settings, self._rest = settings[1], Reloaded(server, settings[0])
        if self._due:
            server.post(self._begin)

    def signalled(self) -> None:
        """Read everything again soon; called by a signal's handler."""
        self._due = True
        if self._server is not None:
            self._server.post(self._begin)

    # In the loop's thread.

    def _begin(self) -> None:
        moment = int(REAL.now() * 1e6)
        self._supervisor.send('RELOADING=1', f'MONOTONIC_USEC={moment}')
        self._reload_passwords()
        if self._url is None:
            self._supervisor.send('READY=1')
        if self._reading or self._url is None:
            self._again = True
            return
        try:
            REAL.spawn('ZEO reading rules', self._read, self._url)
        except RuntimeError as error:
            _failed(error)
            self._supervisor.send('READY=1')
        else:
            self._reading = True

    def _reload_passwords(self) -> None:
        """First of all, and whatever is wrong with other files: a password may be changed because
        somebody else knows it.
        """
        assert self._server is not None
        try:
            changed = self._server.reload_passwords()
        except ConfigurationError as error:
            log.error('%s: the passwords stay as they were', one_line(error))
            return
        if changed is not None:
            users = ', '.join(sorted(map(cleaned, changed))) or 'none'
            log.info('the passwords were read again; users who are gone or changed: %s', users)

    def _done(self, use: Callable[[], None]) -> None:
        self._reading = False
        try:
            use()
        finally:  # whatever is wrong: a supervisor waits for the end
            if self._again:
                self._again = False
                self._begin()
            else:
                self._supervisor.send('READY=1')

    def _use(self, access: Access | None, restricted: bool, tls: SSLContext | None) -> None:
        server = self._server
        assert server is not None
        before = server.access
        if access is None and before not in (None, BY_PASSWORD):  # a file that is half written?
            _failed(
                ConfigurationError(
                    'there is no <access> section any more: to let every client do everything, '
                    'restart the server'
                )
            )
            return
        try:
            server.allow(access, restricted, tls)
        except ConfigurationError as error:
            _failed(error)
            return
        if tls is not None:
            log.info('the files of <ssl> were read again, for clients that connect from now on')
        change = _change(before, server.access)
        log.info('the rules of access were read again: %s', cleaned(change, _LINE))

    def _use_rest(self, settings: Settings) -> None:
        assert self._rest is not None
        changed, restart = self._rest.take(settings)
        if changed:
            log.info('the configuration was read again: %s', '; '.join(changed)[:_LINE])
        if restart:
            log.warning('only a restart can change: %s', ', '.join(restart)[:_LINE])

    # In a thread of its own.

    def _read(self, url: str) -> None:
        """Read the file; the thread's boundary, since sections are of any package."""
        try:
            zeo = load(url).zeo
            if zeo is None:
                raise ConfigurationError(f'{url}: there is no <zeo> section')
            use = partial(self._use, access_of(zeo), zeo.require_access, tls_again(zeo))
        except Exception as error:
            use = partial(_failed, error)
        else:
            use = partial(_one_after_the_other, use, self._read_rest())
        assert self._server is not None
        self._server.post(partial(self._done, use))

    def _read_rest(self) -> Callable[[], None]:
        if self._settings is None:
            return lambda: None
        try:
            return partial(self._use_rest, self._settings())
        except Exception as error:  # as above
            return partial(_rest_failed, error)


def _one_after_the_other(*functions: Callable[[], None]) -> None:
    for function in functions:
        function()


def _rest_failed(error: Exception) -> None:
    log.error('%s: the rest of the configuration stays as it was', one_line(error))


def _failed(error: Exception) -> None:
    log.error('%s: the rules of access stay as they were', one_line(error))


def _change(before: Access | None, now: Access | None) -> str:
    """Return what is different, as a text."""
    if before == now:
        return 'nothing has changed'
    old, new = _lines(before), _lines(now)
    parts = [f'new: {line}' for line in new if line not in old]
    parts += [f'gone: {line}' for line in old if line not in new]
    return '; '.join(parts) or 'their order, or the members of a group, have changed'


def _lines(access: Access | None) -> list[str]:
    return [] if access is None else [*_each(access)]


def _each(access: Access) -> Iterator[str]:
    for section in access.sections:
        for rule in section.rules:
            yield f'{rule} ({section.storage or "every storage"})'
