"""A PostgreSQL of the tests' own: a cluster in a temporary directory, behind a Unix socket.

Enters: nothing but what the system has installed.  Leaves: databases, each with its own name.
Fails: LookupError when PostgreSQL is not installed.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from ZODB.config import storageFromString

#: Debian keeps the programs of a server out of the PATH.
DIRECTORIES = [*sorted(glob.glob('/usr/lib/postgresql/*/bin'), reverse=True), '/usr/local/bin']

#: What a cluster that is thrown away does not need.
OPTIONS = {
    'fsync': 'off',
    'full_page_writes': 'off',
    'synchronous_commit': 'off',
    'shared_buffers': '32MB',
    'max_connections': '80',
    'listen_addresses': '',
}

#: Seconds in which a server starts or stops.
WAIT = 30


def find(program: str) -> str:
    """Return the path of one of PostgreSQL's programs."""
    for directory in DIRECTORIES:
        path = os.path.join(directory, program)
        if os.access(path, os.X_OK):
            return path
    raise LookupError(
        f'there is no {program}: install PostgreSQL (apt-get install postgresql on Debian)'
    )


def _as_someone_else() -> dict[str, Any]:
    """Return options of a process that must not be root's."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam('postgres')
    return {'user': user.pw_uid, 'group': user.pw_gid, 'extra_groups': []}


class Cluster:
    """A running server; :meth:`close` ends it and removes everything."""

    def __init__(self, **options: str) -> None:
        """Make a cluster and start it.

        :param options: settings, besides those of :data:`OPTIONS` or instead of them.
        """
        self._options = {**OPTIONS, **options}
        import psycopg2

        self._connect = psycopg2.connect
        self._names = (f'test{number}' for number in itertools.count(1))
        self._templates: dict[bool, str] = {}  # keeps history -> a database with the tables
        self.directory = tempfile.mkdtemp(prefix='zeo-pg-', dir='/tmp')
        self._process: subprocess.Popen[bytes] | None = None
        try:
            options = _as_someone_else()
            if options:
                os.chown(self.directory, options['user'], options['group'])
            os.chmod(self.directory, 0o755)  # clients of other users find the socket
            subprocess.run(
                [find('initdb'), '-D', self._data, '-A', 'trust', '-U', 'postgres', '--no-sync'],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd='/',
                **options,
            )
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def _data(self) -> str:
        return os.path.join(self.directory, 'data')

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [find('postgres'), '-D', self._data, '-k', self.directory]
        for name, value in self._options.items():
            command += ['-c', f'{name}={value}']
        log = open(os.path.join(self.directory, 'log'), 'ab')
        with log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd='/',
                start_new_session=True,
                **_as_someone_else(),
            )
        until = time.monotonic() + WAIT
        while True:
            try:
                self.connect('postgres').close()
                return
            except Exception:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, whoever is connected: SIGINT ends the sessions, SIGQUIT all at once."""
        process, self._process = self._process, None
        if process is not None:
            self._signal(process, signal.SIGCONT)
            process.send_signal(how)
            try:
                process.wait(WAIT)
            except subprocess.TimeoutExpired:
                self._signal(process, signal.SIGKILL)
                process.wait(WAIT)

    def close(self) -> None:
        """End the server and remove its files."""
        try:
            self.stop(signal.SIGQUIT)  # what it would still write is removed
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], number: int) -> None:
        """Send a signal to the server and all its sessions."""
        for pid in [process.pid, *_children(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """Have it answer nothing meanwhile, as a machine that has stopped."""
        assert self._process is not None
        self._signal(self._process, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(self._process, signal.SIGCONT)

    # Databases.

    def dsn(self, database: str) -> str:
        """Return what psycopg2 and RelStorage connect with."""
        return f"host='{self.directory}' dbname='{database}' user='postgres'"

    def connect(self, database: str) -> Any:
        """Return a connection that commits each statement."""
        connection = self._connect(self.dsn(database))
        connection.autocommit = True
        return connection

    def execute(self, database: str, statement: str, *parameters: Any) -> list[Any]:
        """Execute a statement; return its rows."""
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create(self) -> str:
        """Make a new, empty database; return its name."""
        name = next(self._names)
        self.execute('postgres', f'create database {name}')
        return name

    def create_for(self, keep_history: bool) -> str:
        """Make a database that has RelStorage's tables already, which is quicker than making
        them.
        """
        template = self._templates.get(keep_history)
        if template is None:
            template = self.create()
            self.open(template, keep_history).release()
            self.end_connections(template)
            self._templates[keep_history] = template
        name = next(self._names)
        self.execute('postgres', f'create database {name} template {template}')
        return name

    def section(self, database: str, keep_history: bool, more: str = '') -> str:
        """Return the section of a RelStorage, for a configuration file."""
        return (
            '%import relstorage\n<relstorage>\n'
            f' keep-history {str(keep_history).lower()}\n {more}\n'
            f' <postgresql>\n  driver psycopg2\n  dsn {self.dsn(database)}\n </postgresql>\n'
            '</relstorage>\n'
        )

    def open(self, database: str, keep_history: bool) -> Any:
        """Return a RelStorage on a database, without a server between."""
        return storageFromString(self.section(database, keep_history))

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected."""
        self.execute('postgres', f'drop database if exists {database} with (force)')

    def end_connections(self, database: str) -> int:
        """End all sessions of a database; return how many there were."""
        return len(
            self.execute(
                'postgres',
                'select pg_terminate_backend(pid) from pg_stat_activity where datname = %s',
                database,
            )
        )


_clusters: list[Cluster] = []


def cluster() -> Cluster:
    """Return the cluster of this process, which is started when it is first wanted."""
    if not _clusters:
        _clusters.append(Cluster())
        atexit.register(end)
    return _clusters[0]


def end() -> None:
    """End the cluster, if there is one."""
    while _clusters:
        _clusters.pop().close()


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found: list[int] = []
    for path in glob.glob(f'/proc/{pid}/task/*/children'):
        with open(path) as file:
            found += map(int, file.read().split())
    return found
