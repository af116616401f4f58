"""A server process of the implementation whose Python runs this, and clients of it.

In: which storage and which transport.  Out: an address, a process id.  Leaves: a configuration and
a log in the working directory, which the driver makes and removes.  Fails with ServerFailed, whose
text is the last line of the server's log.
"""

from __future__ import annotations

import inspect
import os
import ssl
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from support.processes import Address, Process, ProcessFailed, connect, free_port

from .meters import process_cpu, resident_bytes
from .records import DATA_FILE

START_TIMEOUT = 60.0

CONFIGURATION = """\
<zeo>
  address {address}
  {keys}
  {ssl}
</zeo>
{storage}
<eventlog>
  level WARN
  <logfile>
    path server.log
  </logfile>
</eventlog>
"""

STORAGES = {
    'file': f'<filestorage 1>\n  path {DATA_FILE}\n</filestorage>',
    'grouped': f'<grouped-filestorage 1>\n  path {DATA_FILE}\n</grouped-filestorage>',
    'blob': f'<filestorage 1>\n  path {DATA_FILE}\n  blob-dir blobs\n</filestorage>',
    'grouped-blob': (
        f'<grouped-filestorage 1>\n  path {DATA_FILE}\n  blob-dir blobs\n</grouped-filestorage>'
    ),
    'memory': '<mappingstorage 1>\n</mappingstorage>',
    'second': '<zeoclient 1>\n  server {first}\n  cache-size 100MB\n</zeoclient>',
}

#: What implementations serve that have no storage in which transactions share a sync.
_PLAIN = {'grouped': 'file', 'grouped-blob': 'blob'}

#: Both sides show the same certificate, which signs itself, and accept no other.
SSL = """<ssl>
    certificate cert.pem
    key key.pem
    authenticate cert.pem
  </ssl>"""


class ServerFailed(Exception):
    """The server did not start, or ended by itself."""


def _has_grouped() -> bool:
    try:
        return find_spec('ZEO.serving.grouped') is not None
    except ImportError:
        return False


def understands(option: str) -> bool:
    """Return whether clients and servers of this implementation have an option."""
    from ZEO.ClientStorage import ClientStorage

    return option in inspect.signature(ClientStorage.__init__).parameters


def as_text(address: Address) -> str:
    """Return an address as a configuration has it."""
    return address if isinstance(address, str) else '{}:{}'.format(*address)


def _lines(keys: dict[str, str]) -> str:
    return '\n  '.join(
        f'{key} {value}' for key, value in keys.items() if understands(key.replace('-', '_'))
    )


def make_certificate() -> None:
    """Make cert.pem and key.pem in the working directory."""
    command = (
        'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes '
        '-keyout key.pem -out cert.pem -days 2 -subj /CN=localhost '
        '-addext subjectAltName=DNS:localhost'
    )
    subprocess.run(command.split(), check=True, capture_output=True)


class Server:
    """``python -m ZEO.runzeo -C FILE`` in the working directory; a context manager.

    kind: 'file', 'grouped' (a FileStorage that syncs transactions of several clients at once, where
    this implementation has it), 'blob' and 'grouped-blob' (both with blobs), 'memory', or 'second'
    (a client of another server, whose address is `first`); transport: 'unix', 'tcp' or 'tls';
    sync_seconds: what each sync of a file takes at least, as on another disk; keys: more
    keys of its configuration, for this implementation; steps: a file for the longest steps of its
    loop.
    """

    def __init__(
        self,
        kind: str = 'file',
        transport: str = 'unix',
        sync_seconds: float = 0.0,
        keys: dict[str, str] | None = None,
        first: Address | None = None,
        steps: str | None = None,
    ):
        here = os.getcwd()
        if kind in _PLAIN and not _has_grouped():
            kind = _PLAIN[kind]
        program = ['-m', 'ZEO.runzeo']
        if sync_seconds:
            program = [str(Path(__file__).with_name('slow_disk.py')), str(sync_seconds)]
        elif steps:
            program = [str(Path(__file__).with_name('loop_steps.py')), steps]
        self._command = [sys.executable, *program, '-C', 'server.conf']
        self.address: Address = f'{here}/z' if transport == 'unix' else ('127.0.0.1', free_port())
        text = as_text(self.address)
        self._tls = transport == 'tls'
        if self._tls:
            make_certificate()
        Path('server.conf').write_text(
            CONFIGURATION.format(
                address=text,
                storage=STORAGES[kind].format(first=as_text(first)) if first else STORAGES[kind],
                ssl=SSL if self._tls else '',
                keys=_lines(keys or {}),
            )
        )
        self.process: Process | None = None

    def start(self) -> float:
        """Start it and wait until it greets; return the seconds that took."""
        begin = time.perf_counter()
        with open('server.out', 'ab') as out:
            self.process = Process(self._command, stdout=out, stderr=out)
        try:
            self.process.wait_until(self._greets, START_TIMEOUT, pause=0.002)
        except ProcessFailed:
            raise ServerFailed(f'the server did not start: {self._last_words()}') from None
        return time.perf_counter() - begin

    def _greets(self) -> bool:
        try:
            with connect(self.address) as sock:
                return self._tls or len(sock.recv(6)) > 0  # with TLS the client speaks first
        except OSError:
            return False

    def _last_words(self) -> str:
        lines = []
        for name in ('server.out', 'server.log'):
            if os.path.exists(name):
                lines += Path(name).read_text(errors='replace').splitlines()
        return next((line for line in reversed(lines) if line.strip()), 'it said nothing')

    def stop(self) -> None:
        """End it; by force when it does not end in ten seconds."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def client_options(self) -> dict[str, Any]:
        """What clients of it need besides its address."""
        if not self._tls:
            return {}
        context = ssl.create_default_context(cafile='cert.pem')
        context.load_cert_chain('cert.pem', 'key.pem')
        return {'ssl': context, 'ssl_server_hostname': 'localhost'}

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    def cpu(self) -> float:
        """Return the CPU seconds it has used."""
        return process_cpu(self.pid)

    def resident(self) -> int:
        """Return its resident memory in bytes."""
        return resident_bytes(self.pid)


def open_client(address: Address, cache_size: int = 20_000_000, **options: Any) -> Any:
    """Return a connected ClientStorage; `options` as its constructor takes them.

    Without read-ahead, where they do not ask for it: other rows show what a load costs.
    """
    from ZEO.ClientStorage import ClientStorage

    if understands('read_ahead'):
        options.setdefault('read_ahead', False)

    return ClientStorage(address, cache_size=cache_size, wait_timeout=30, **options)
