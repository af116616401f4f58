#!/usr/bin/env python3
"""The classic command: ``start.py -p 9100``, ``start.py -U /run/zeo.sock -S 1=/stores/fs:Storage``.

Enters: switches, ``NAME=VALUE`` arguments for the environment, the name of a FileStorage's file.
Leaves: a running server, until SIGINT, SIGTERM or SIGHUP; lines on standard output that say where
it listens and what it serves; exit status 0.  Fails: with one line on standard error, and exit
status 2 for what an operator has to mend, 1 for what may pass by itself.
"""

import os
import sys

if __package__ in (None, ''):
    # Run as a file: its directory, which Python has put first on the path, would make modules of
    # the package pass for top-level ones; the directory above is where `import ZEO` finds them.
    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or '.') != _here]
    sys.path.insert(0, os.path.dirname(_here))

import getopt
import logging
import pwd
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ZEO.commands.server_process import (
    Signals,
    log_start,
    log_to_standard_error,
    pid_file,
    profiled,
    use_all_files,
)
from ZEO.config.server import check_addresses, listen
from ZEO.config.storages import close_all, open_storages
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import Address, show
from ZEO.serving.limits import Limits
from ZEO.StorageServer import StorageServer
from ZEO.version import version

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
    --version   print the version of ZEO and exit.
    --help      print this text and exit, as without any argument.

The server's process id is written to the file that $ZEO_SERVER_PID names, if it is set.
SIGINT, SIGTERM and SIGHUP stop the server.  Warnings and errors go to standard error, one line
each.  The exit status is 0 after a stop, 2 when an operator has to mend something before the server
can start, and 1 when another try may succeed, as with a storage that another process has open.
"""

LOOPBACK = '127.0.0.1'
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def for_good(self) -> None:
        """Become this user; there is no way back."""
        if self.is_other:
            os.initgroups(self.name, self.gid)
            os.setgid(self.gid)
            os.setuid(self.uid)


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
    signals = Signals()
    log_start()
    with ExitStack() as stack:
        stack.enter_context(signals.installed(dict.fromkeys(STOP_SIGNALS, signals.on_stop)))
        check_addresses(options.addresses())
        pid = stack.enter_context(
            pid_file(os.environ.get('ZEO_SERVER_PID'), user.own if user else None)
        )
        server = _listen(options, _open_storages(options, user, signals))
        stack.callback(server.close)
        if pid is not None:
            pid.serving()
        if user:
            for socket in options.sockets:
                user.own(socket)
            user.for_good()
        announce(server)
        signals.watch(server)
        with profiled(options.profile):
            server.serve_forever()


def _open_storages(options: Options, user: User | None, signals: Signals) -> dict[str, Any]:
    with signals.interruptible(), user.for_a_while() if user else nullcontext():
        return open_storages(options.storages, options.file_name)


def _listen(options: Options, storages: dict[str, Any]) -> StorageServer:
    try:
        use_all_files(Limits())
        return listen(options.addresses(), storages)
    except BaseException:
        close_all(storages.values())
        raise


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 2 for what an operator has to mend, 1 for what
    may pass.

    :param args: the command line without the command's name; the process's own by default.
    """
    args = sys.argv[1:] if args is None else args
    if not args or '--help' in args:
        print(OPTIONS, end='')
        return 0
    if '--version' in args:
        print(f'ZEO {version()}')
        return 0
    try:
        options = parse(args)
        log_to_standard_error(logging.DEBUG if options.debug else logging.WARNING)
        run(options)
    except ConfigurationError as error:
        print(f'start.py: {error}', file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == '__main__':
    sys.exit(main())
