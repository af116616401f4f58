#!/usr/bin/env python3
"""The classic command: ``start.py -p 9100``, ``start.py -U /run/zeo.sock -S 1=/stores/fs:Storage``.

Enters: switches, ``NAME=VALUE`` arguments for the environment, the name of a FileStorage's file.
Leaves: a running server, until SIGINT, SIGTERM or SIGHUP; lines on standard output that say where
it listens and what it serves; exit status 0.  Fails: with one line on standard error and exit
status 2 for what the operator can mend.
"""

import os
import sys

if __package__ in (None, ''):
    # Run as a file: its directory, which Python has put first on the path, would make modules of
    # the package pass for top-level ones; the directory above is where `import ZEO` finds them.
    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or '.') != _here]
    sys.path.insert(0, os.path.dirname(_here))

import cProfile
import getopt
import logging
import pwd
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import Address, show
from ZEO.serving.hosting import close_all, describe, open_storages
from ZEO.StorageServer import StorageServer

OPTIONS = """\
start.py serves ZODB storages to the processes that open them with ZEO.ClientStorage.

    start.py -p PORT [options] [NAME=VALUE ...] [FILE]
    start.py -U SOCKET [options] [NAME=VALUE ...] [FILE]

FILE is the FileStorage to serve, as storage 1.  Without it and without -S that is
$INSTANCE_HOME/var/Data.fs, or Data.fs in the working directory when INSTANCE_HOME is not set.
It is made when there is none.

NAME=VALUE sets a variable of the environment before any storage is opened.

    -p PORT     listen on this TCP port; 0 picks a free one.  May be repeated.
    -h HOST     the host name or address to listen on with -p.  The default is 127.0.0.1, so that
                only this machine is served; -h '' listens on every network of the machine.
                May be repeated.
    -U SOCKET   listen on this Unix domain socket.  May be repeated, and used together with -p.
    -S NAME=MODULE_PATH:ATTRIBUTE
                serve, as NAME, the storage that the Python file MODULE_PATH (.py may be left out)
                or the dotted module of that name calls ATTRIBUTE; without :ATTRIBUTE, the one it
                calls NAME.  May be repeated.
    -u USER     open the storages and serve as this user, by name or number; the ports are bound
                before.  Only root can do that.
    -D          log what happens in detail.
    -s          accepted for old scripts: the server never turns itself into a daemon.
    -P FILE     profile the server and write the statistics to FILE at the end.

The server's process id is written to the file that $ZEO_SERVER_PID names, if it is set.
SIGINT, SIGTERM and SIGHUP stop the server.  Warnings and errors go to standard error, one line
each.  The exit status is 0 after a stop, and 2 when the server could not start as told.
"""

LOOPBACK = '127.0.0.1'
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

logger = logging.getLogger('ZEO.start')


@dataclass
class Options:
    """What the command line says."""

    ports: list[int] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    storages: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    file_name: str | None = None
    user: str | None = None
    debug: bool = False
    profile: str | None = None

    def addresses(self) -> list[Address]:
        """Return all addresses to listen on: every host with every port, and the sockets."""
        hosts = self.hosts or [LOOPBACK]
        return [(host, port) for port in self.ports for host in hosts] + self.sockets


def parse(args: Sequence[str]) -> Options:
    """Return what a command line says; options and arguments may come in any order.

    :raises ConfigurationError: when it makes no sense.
    """
    try:
        switches, arguments = getopt.gnu_getopt(list(args), 'p:h:U:S:u:DsP:')
    except getopt.GetoptError as error:
        raise ConfigurationError(
            f'{error}; run start.py without arguments to see options'
        ) from None
    options = Options()
    for switch, value in switches:
        _take_switch(options, switch, value)
    for argument in arguments:
        _take_argument(options, argument)
    if options.hosts and not options.ports:
        raise ConfigurationError('-h needs a port to go with: give -p port')
    if not options.addresses():
        raise ConfigurationError('nowhere to listen: give -p port or -U socket')
    return options


def _take_switch(options: Options, switch: str, value: str) -> None:
    if switch == '-p':
        options.ports.append(_port(value))
    elif switch == '-h':
        options.hosts.append(value)
    elif switch == '-U':
        options.sockets.append(_path(switch, value))
    elif switch == '-S':
        options.storages.append(value)
    elif switch == '-u':
        options.user = value
    elif switch == '-D':
        options.debug = True
    elif switch == '-P':
        options.profile = _path(switch, value)


def _take_argument(options: Options, argument: str) -> None:
    if re.match(r'[A-Za-z_]\w*=', argument):
        name, _, value = argument.partition('=')
        options.environment[name] = value
    elif options.file_name is None:
        options.file_name = _path('the storage', argument)
    else:
        raise ConfigurationError(
            f'{argument}: one file is given already ({options.file_name}); serve others by -S'
        )


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise ConfigurationError(f'-p {text}: give a port number, 1 to 65535, or 0 for a free one')


def _path(what: str, text: str) -> str:
    if not text:
        raise ConfigurationError(f'{what} needs the name of a file')
    return text


class User:
    """The user that a server started by root turns into."""

    def __init__(self, text: str) -> None:
        """Look up a user by name or number.

        :raises ConfigurationError: when there is none, or this process can't become that user.
        """
        try:
            entry = pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
        except KeyError:
            raise ConfigurationError(f'-u {text}: there is no such user') from None
        self.name, self.uid, self.gid = entry.pw_name, entry.pw_uid, entry.pw_gid
        self.is_other = os.geteuid() != self.uid
        if self.is_other and os.geteuid() != 0:
            raise ConfigurationError(f'-u {text}: only root can serve as another user')

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """Work with this user's rights, so that new files are the user's, and come back."""
        if not self.is_other:
            yield
            return
        gid, groups = os.getegid(), os.getgroups()
        os.initgroups(self.name, self.gid)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)

    def own(self, path: str) -> None:
        """Give a file to this user."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def for_good(self) -> None:
        """Become this user; there is no way back."""
        if self.is_other:
            os.initgroups(self.name, self.gid)
            os.setgid(self.gid)
            os.setuid(self.uid)


class OneLine(logging.Formatter):
    """Formats every event as one line, tracebacks and texts from clients included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return ' | '.join(super().format(record).splitlines())


def set_up_logging(debug: bool) -> None:
    """Log to standard error: warnings and errors, or with `debug` everything."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine('%(asctime)s %(levelname)s %(name)s %(message)s'))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])


class Stopper:
    """What a stop signal does in each part of the server's life."""

    def __init__(self) -> None:
        self._server: StorageServer | None = None  # the one to stop, once there is one
        self._interruptible = False  # whether a signal may end what runs now at any point
        self._asked = False  # whether a signal has come

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside, those that are ignored (by nohup) apart."""
        before = {
            number: signal.signal(number, self._stop)
            for number in STOP_SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal raise SystemExit inside, since opening a storage may take minutes."""
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def watch(self, server: StorageServer) -> None:
        """Stop this server when a signal comes, or at once when one has come."""
        self._server = server
        if self._asked:
            server.stop()

    def _stop(self, number: int, frame: Any) -> None:
        self._asked = True
        if self._interruptible:
            raise SystemExit(0)
        if self._server is not None:
            self._server.stop()


@contextmanager
def pid_file(path: str | None, user: User | None) -> Iterator[None]:
    """Keep this process's id in a file as long as the server runs; without a path, do nothing.

    :raises ConfigurationError: when it can't be written.
    """
    if not path:
        yield
        return
    try:
        with open(path, 'w', encoding='ascii') as file:
            file.write(f'{os.getpid()}\n')
        if user:
            user.own(path)
    except OSError as error:
        raise ConfigurationError(
            f'cannot write the process id to {path}: {error.strerror}; see ZEO_SERVER_PID'
        ) from None
    try:
        yield
    finally:
        try:
            os.unlink(path)
        except OSError as error:  # it was moved, or the directory is not the user's
            logger.warning('could not remove %s: %s', path, error.strerror)


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
            raise ConfigurationError(f'cannot write the profile: {describe(error)}') from None


def announce(server: StorageServer) -> None:
    """Print where a server listens and what it serves."""
    for address in server.addresses:
        loopback = isinstance(address, tuple) and address[0] in (LOOPBACK, '::1')
        note = " (this machine only; -h '' listens on every network)" if loopback else ''
        print(f'Listening on {show(address)}{note}', flush=True)
    for name, storage in server.storages.items():
        print(f'Serving storage {name}: {type(storage).__name__} {storage.getName()}', flush=True)


def run(options: Options) -> None:
    """Serve until a signal comes.

    :raises ConfigurationError: when the server can't start as the options say.
    """
    os.environ.update(options.environment)
    user = User(options.user) if options.user else None
    stopper = Stopper()
    with ExitStack() as stack:
        stack.enter_context(stopper.installed())
        with stopper.interruptible():
            storages = _open_storages(options, user)
        server = _listen(options, storages)
        stack.callback(server.close)
        stack.enter_context(pid_file(os.environ.get('ZEO_SERVER_PID'), user))
        if user:
            for socket in options.sockets:
                user.own(socket)
            user.for_good()
        announce(server)
        stopper.watch(server)
        with profiled(options.profile):
            server.serve_forever()


def _open_storages(options: Options, user: User | None) -> dict[str, Any]:
    with user.for_a_while() if user else nullcontext():
        return open_storages(options.storages, options.file_name)


def _listen(options: Options, storages: dict[str, Any]) -> StorageServer:
    try:
        return StorageServer(options.addresses(), storages)
    except BaseException as error:
        close_all(storages.values())
        if isinstance(error, OSError):
            raise ConfigurationError(f'cannot listen: {describe(error)}') from error
        raise


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 for what the operator has to mend.

    :param args: the command line without the command's name; the process's own by default.
    """
    args = sys.argv[1:] if args is None else args
    if not args or '--help' in args:
        print(OPTIONS, end='')
        return 0
    try:
        options = parse(args)
        set_up_logging(options.debug)
        run(options)
    except ConfigurationError as error:
        print(f'start.py: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
