"""Real frameworks, from PyPI, on a server and a client of this ZEO, or one of them of ZEO 6.

Their environments are kept in .test-env-frameworks. A check is skipped where they cannot be
installed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.environments import TOP, CannotInstall, Environments, clean_environment
from support.processes import Process, free_port, listens

CONFIGURATION = """\
<zeo>
  address 127.0.0.1:{port}
</zeo>
<filestorage 1>
  path {directory}/{name}.fs
  blob-dir {directory}/{name}-blobs
</filestorage>
"""


@pytest.fixture(scope='session')
def environments(tmp_path_factory):
    """What has the frameworks, with a wheel of this checkout or ZEO 6."""
    return Environments(TOP / '.test-env-frameworks', tmp_path_factory.mktemp('wheel'))


@dataclass
class Sides:
    """Which ZEO is at which end: ``ours`` or ``peer``."""

    server: str
    client: str
    environments: Environments

    def python(self, framework: str, side: str) -> Path:
        """Return the Python of one side."""
        try:
            return self.environments.python(framework, side)
        except CannotInstall as error:
            pytest.skip(str(error))


@pytest.fixture(params=['ours', 'peer_server', 'peer_client'])
def sides(request, environments):
    """All combinations with this ZEO in them."""
    server = 'peer' if request.param == 'peer_server' else 'ours'
    return Sides(server, 'peer' if request.param == 'peer_client' else 'ours', environments)


class Processes(contextlib.ExitStack):
    """The processes of a test, in a directory; they end in reverse order of their starts."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def start(self, *words, **environ) -> Process:
        """Start a command."""
        process = Process(words, cwd=self.directory, env=clean_environment(**environ))
        self.callback(lambda: print(process.failure('the end')))  # for a test that has failed
        self.callback(process.stop)
        return process

    def serve(self, python: Path, port: int, text: str = CONFIGURATION, name: str = 'Data'):
        """Start ``runzeo`` and wait until it listens.

        :param text: what it is configured by; else one FileStorage with blobs, which is `name`.
        """
        conf = text.format(port=port, directory=self.directory, name=name)
        (self.directory / 'zeo.conf').write_text(conf)
        server = self.start(python.parent / 'runzeo', '-C', 'zeo.conf')
        server.wait_until(lambda: listens(('127.0.0.1', port)))
        return server


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path) as processes:
        yield processes


@pytest.fixture
def port():
    """Where the server listens."""
    return free_port()
