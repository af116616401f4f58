"""Which Python, and so which ZEO, a process of a test runs.

Enters: the variable ``ZEO_PEER_PYTHON``, the interpreter of another environment with ZEO 6.
Leaves: a :class:`Side`, with which :mod:`support.children` starts processes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import ZEO

TESTS = Path(__file__).resolve().parent.parent
SOURCES = Path(ZEO.__file__).resolve().parent.parent


@dataclass(frozen=True)
class Side:
    """An interpreter, and where it finds the tests' helpers and ZEO."""

    name: str
    python: str
    path: tuple[str, ...]

    def environ(self, **changes: str) -> dict[str, str]:
        """Return the environment of a process of this side, with `changes` made."""
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(('PYTHON', 'ZEO_')) and name != 'INSTANCE_HOME'
        }
        return {**environ, 'PYTHONPATH': os.pathsep.join(self.path), **changes}

    def script(self, name: str) -> str:
        """Return the path of a command that is installed beside the interpreter."""
        return str(Path(self.python).parent / name)


OURS = Side('ours', sys.executable, (str(TESTS), str(SOURCES)))

_peer_python = os.environ.get('ZEO_PEER_PYTHON')
#: The side with ZEO 6 from PyPI; None when no environment was named.
PEER = Side('peer', _peer_python, (str(TESTS),)) if _peer_python else None

WHY_NO_PEER = (
    'set ZEO_PEER_PYTHON to the Python of another environment that has ZEO 6 installed;'
    ' scripts/test makes one'
)


#: The side that serves in the storage tests. ZEO_TEST_SERVER and ZEO_TEST_SERVER_PATH, a Python and
#: its path, are set where these tests run in ZEO 6's own environment, on a server of ours.
SERVER = OURS
if 'ZEO_TEST_SERVER' in os.environ:
    _path = os.environ['ZEO_TEST_SERVER_PATH'].split(os.pathsep)
    SERVER = Side('server', os.environ['ZEO_TEST_SERVER'], tuple(_path))
