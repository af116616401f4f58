"""An operator at a shell: the commands of an installed ZEO, as processes, in a directory.

Enters: the directory of the installed programs, and one to work in. Leaves: servers that run, what
commands print. Fails: :class:`ProcessFailed`, or AssertionError with the output of a command.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from support.environments import clean_environment
from support.processes import PATIENCE, Process

#: What is served at a place: one FileStorage with blobs.
CONFIGURATION = """\
<zeo>
  address 127.0.0.1:{port}
</zeo>
<filestorage 1>
  path {place}/Data.fs
  blob-dir {place}/blobs
</filestorage>
"""


def install(wheel: Path, directory: Path) -> Path:
    """Make a virtual environment with a wheel in it; return the directory of its programs.

    What the wheel needs is taken from the environment that runs the tests, without its ZEO.
    """
    venv.create(directory, symlinks=True)
    python = directory / 'bin' / 'python'
    _pip('--python', python, 'install', '--no-deps', '--no-compile', wheel)
    paths = sysconfig.get_paths(vars={'base': str(directory), 'platbase': str(directory)})
    # a path in a .pth file: the files of that kind which are there themselves are not read, so
    # that the editable ZEO of the tests does not come along
    place = Path(paths['purelib'], 'needed.pth')
    place.write_text(f'{sysconfig.get_path("purelib")}\n', encoding='utf-8')
    return python.parent


def _pip(*arguments: object) -> None:
    words = [sys.executable, '-m', 'pip', *map(str, arguments), '--quiet', '--no-index']
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=PATIENCE, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr


class Operator(contextlib.ExitStack):
    """Starts servers and runs commands; all that still runs at the end of the block is ended."""

    def __init__(self, programs: Path, directory: Path) -> None:
        super().__init__()
        self.programs, self.directory = programs, directory

    def start(self, program: str | Path, *words: object) -> Process:
        """Start an installed program."""
        command = [self.programs / program, *words]
        process = Process(command, cwd=self.directory, env=clean_environment())
        self.callback(process.stop)
        return process

    def serve(self, place: str, port: int) -> Process:
        """Serve the database at a place with ``zeo serve``, and wait until it is served."""
        (self.directory / place).mkdir(exist_ok=True)
        conf = self.directory / f'{place}.conf'
        conf.write_text(CONFIGURATION.format(port=port, place=self.directory / place))
        server = self.start('zeo', 'serve', '-C', conf)
        self.zeo('ping', '--wait', PATIENCE, f'127.0.0.1:{port}')
        return server

    def zeo(self, *words: object) -> str:
        """Run ``zeo`` to its end; return what it prints, errors included.

        :raises AssertionError: when its exit status is not 0.
        """
        status, said, errors = self.start('zeo', *words).end()
        assert status == 0, f'zeo {words}: {status}\n{said}{errors}'
        return said + errors

    def back_up_and_stop(self, server: Process, place: str, port: int) -> None:
        """Back up while it serves; stop it; back up what has come meanwhile."""
        self.zeo('backup', f'127.0.0.1:{port}', 'backups')
        status, _, errors = server.end(signal.SIGTERM)
        assert (status, 'Traceback' in errors) == (0, False), errors
        self.zeo('backup', f'{place}/Data.fs', 'backups', '--blobs', f'{place}/blobs')

    def restore(self, place: str) -> None:
        """Make of the backup a database elsewhere, and verify it."""
        (self.directory / place).mkdir()
        database = f'{place}/Data.fs', f'{place}/blobs'
        self.zeo('restore', 'backups', database[0], '--to-blobs', database[1])
        self.zeo('verify', database[0], '--blobs', database[1])
