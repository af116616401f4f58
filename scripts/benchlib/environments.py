"""The two implementations: which Python runs them, what is on its path, and the machine.

Makes a virtual environment with the ZEO of PyPI when none is given.  Fails with
EnvironmentFailed, whose text says what to do.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.environments import CannotInstall, make

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS, TESTS = ROOT / 'scripts', ROOT / 'tests'
ENVIRONMENTS = ROOT / 'build' / 'bench'
REDIS_CLIENT = ['redis', 'hiredis']

PROBE = """
import importlib.metadata as m, json, platform, sys
import ZEO.ClientStorage
names = ['ZODB', 'persistent', 'transaction', 'BTrees', 'redis', 'hiredis', 'uvloop']
found = {'Python': platform.python_version()}
for name in names:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
found['file'] = ZEO.__file__
try:
    found['ZEO'] = m.version('ZEO')
except m.PackageNotFoundError:
    pass
print(json.dumps(found))
"""


class EnvironmentFailed(Exception):
    """There is no Python that can run an implementation."""


@dataclass(frozen=True)
class Implementation:
    """A Python and what comes first on its path: enough to run server and clients.

    nice: the priority its processes get, below zero for a higher one (for root only).
    """

    python: str
    path: tuple[str, ...] = ()
    nice: int = 0

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs its Python with these arguments."""
        return ['nice', '-n', str(self.nice), self.python, *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment variables of its processes."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith(('PYTHON', 'ZEO_'))}
        variables['PYTHONPATH'] = os.pathsep.join([str(SCRIPTS), str(TESTS), *self.path])
        variables['PYTHONHASHSEED'] = '0'
        return variables

    def versions(self) -> dict[str, str]:
        """Return the versions of what it consists of; raises EnvironmentFailed if it cannot run."""
        done = subprocess.run(
            [self.python, '-c', PROBE],
            env=self.environment(),
            text=True,
            capture_output=True,
            timeout=120,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ['it said nothing'])[-1]
            raise EnvironmentFailed(f'{self.python} cannot import ZEO: {last}')
        found = json.loads(done.stdout)
        if self.path and not found['file'].startswith(self.path[0]):
            raise EnvironmentFailed(f'{self.python} takes ZEO from {found["file"]}')
        return found


def make_peer(uvloop: bool) -> str:
    """Return the Python of a virtual environment with ZEO 6, made now if it is not there yet.

    uvloop: with the extra of that name, which makes ZEO 6 faster.
    """
    directory = ENVIRONMENTS / ('peer-uvloop' if uvloop else 'peer')
    peer = 'ZEO[uvloop]>=6,<7' if uvloop else 'ZEO>=6,<7'
    try:
        return str(make(directory, peer, *REDIS_CLIENT))
    except CannotInstall as error:
        raise EnvironmentFailed(f'{error}; or give --peer-python a Python that has ZEO 6') from None


def our_python(peer_python: str) -> str:
    """Return a Python that has what our ZEO needs: this one if it has it, else the peer's."""
    done = subprocess.run([sys.executable, '-c', 'import ZODB, zc.lockfile'], capture_output=True)
    return sys.executable if done.returncode == 0 else peer_python


def machine() -> dict[str, str]:
    """Return what the figures depend on: processor, cores, memory, system, and who else works.

    A load average that is not near zero before anything is measured means a busy machine.
    """
    model = next(
        (
            line.partition(':')[2].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ),
        platform.machine(),
    )
    pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return {
        'processor': model,
        'cores': str(os.cpu_count()),
        'memory': f'{pages / 2**30:.0f} GiB',
        'system': f'{platform.system()} {platform.release()}',
        'load average before': f'{os.getloadavg()[0]:.1f}',
    }
