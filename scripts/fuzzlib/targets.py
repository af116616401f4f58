"""The servers under attack: a process each, with a directory of its own, and what can be seen of it
from outside.

Enters: a kind of storage, an encoding, a directory. Leaves: a running server, its meters. Fails:
NotStarted.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from ZEO.serving.access import secrets_file
from ZEO.serving.access.secrets import set_secret

KINDS = {
    'file': '<filestorage 1>\n  path Data.fs\n  blob-dir blobs\n</filestorage>',
    'mapping': '<blobstorage 1>\n  blob-dir blobs\n  <mappingstorage>\n  </mappingstorage>\n'
    '</blobstorage>',
    'demo': '<demostorage 1>\n  <filestorage base>\n    path base.fs\n    blob-dir blobs\n  '
    '</filestorage>\n</demostorage>',
}

#: Storage 2 is the good client's own: nobody keeps its commit lock from it, so that only the server
#: can make it wait.
CONFIGURATION = """\
<zeo>
  address {directory}/z
  msgpack {msgpack}
  transaction-timeout 2
  password-file passwords
  read-ahead always
  <access>
    rule anyone admin
  </access>
</zeo>
{storage}
<filestorage 2>
  path good.fs
</filestorage>
<eventlog>
  level info
  <logfile>
    path {directory}/server.log
    format %(asctime)s %(levelname)s %(name)s %(message)s
  </logfile>
</eventlog>
"""

START_TIME = 60.0  # seconds
STOP_TIME = 20.0


#: runzeo, which tells on standard error where its threads are when it gets TELL.
TELL = signal.SIGRTMIN
PROGRAM = (
    'import faulthandler, sys; from ZEO.runzeo import main; '
    f'faulthandler.register({int(TELL)}, all_threads=True); sys.exit(main())'
)


class NotStarted(Exception):
    """The server did not come up."""


class Reading(NamedTuple):
    """What was seen of a server at one moment."""

    when: float  # seconds, of the monotonic clock
    resident: int  # bytes
    files: int  # open file descriptors
    log: int  # bytes


class Target:
    """A server that serves one kind of storage in one encoding."""

    def __init__(self, kind: str, encoding: str, directory: Path) -> None:
        self.kind, self.encoding, self.directory = kind, encoding, directory
        self.name = f'{kind}-{encoding}'
        self.path = str(directory / 'z')
        self.temporary = directory / 'tmp'  # what the server's tempfile uses
        self.canary = directory / 'canary'  # what a payload that runs would make
        self.log = directory / 'server.log'
        self.temporary.mkdir(parents=True)
        (directory / 'server.conf').write_text(
            CONFIGURATION.format(
                directory=directory,
                msgpack='on' if encoding == 'M5' else 'off',
                storage=KINDS[kind],
            )
        )
        with secrets_file.change(str(directory / 'passwords'), may_create=True) as kept:
            set_secret(kept, 'app', 'a password')
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with open(self.directory / 'server.out', 'ab') as out:
            self.process = subprocess.Popen(
                [sys.executable, '-c', PROGRAM, '-C', 'server.conf'],
                cwd=self.directory,
                env={**os.environ, 'TMPDIR': str(self.temporary)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + START_TIME
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise NotStarted(f'{self.name} did not start: {self.said()}')
            time.sleep(0.02)

    def listens(self) -> bool:
        """Return whether clients can connect: a moment after the file of the socket is there."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(START_TIME)
            try:
                probe.connect(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        return True

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def said(self) -> str:
        """Return the end of what it wrote outside of its log."""
        out = self.directory / 'server.out'
        return out.read_text(errors='replace')[-2000:] if out.exists() else ''

    def where(self) -> str:
        """Return where its threads are, for a server that does not answer."""
        if self.process is not None and self.is_alive:
            self.process.send_signal(TELL)
            time.sleep(1)
        return self.said()

    def read(self) -> Reading:
        """Return its meters. Raises OSError when it has ended."""
        assert self.process is not None
        proc = Path(f'/proc/{self.process.pid}')
        resident = int((proc / 'statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
        log = self.log.stat().st_size if self.log.exists() else 0
        return Reading(time.monotonic(), resident, len(os.listdir(proc / 'fd')), log)

    def stop(self) -> int | None:
        """Stop it by SIGTERM; return its exit status, None when it had to be killed."""
        process = self.process
        assert process is not None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        self.process = None
        return status

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def leftovers(self) -> list[str]:
        """Return the temporary files that are there, blobs under way included.

        A DemoStorage that runs keeps committed blobs in a temporary directory.
        """
        found = [
            path
            for path in self.temporary.rglob('*')
            if path.is_file()
            and not (self.process and '.demoblobs' in str(path) and path.parent.name != 'tmp')
        ]
        found += [path for path in (self.directory / 'blobs' / 'tmp').rglob('*') if path.is_file()]
        return sorted(str(path.relative_to(self.directory)) for path in found)
