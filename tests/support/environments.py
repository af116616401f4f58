"""Environments that hold what frameworks need, from PyPI, with one of the two ZEOs.

Enters: a framework's requirements and a side, ``ours`` or ``peer``. Leaves: a virtual environment
that has this checkout as an installed wheel, or ZEO 6. Fails: :class:`CannotInstall`, with pip's
own words.

Only the standard library is imported: scripts/bench.py makes its environments here, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
PEER = 'ZEO[msgpack]>=6,<7'
REQUIREMENTS = {
    'zope': ['Zope', 'waitress'],
    'pyramid': [
        'pyramid',
        'pyramid_zodbconn',
        'pyramid_tm',
        'pyramid_retry',
        'zodburi',
        'waitress',
        'pytest',
    ],
    # CMFPlone asks for plone.app.layout>=6.0.0a3, which makes pip take an alpha version of 7 that
    # does not fit the rest. zdaemon is what the recipe's control script runs.
    'plone': [
        'Products.CMFPlone',
        'plone.app.layout<7',
        'plone.restapi',
        'plone.recipe.zeoserver',
        'plone.recipe.zope2instance',
        'zc.buildout',
        'zdaemon',
        'waitress',
    ],
    'relstorage': ['RelStorage'],
    # pyperf 2.6 has a switch --profile, which zodbshootout 0.8 defines as well: argparse refuses to
    # have it twice. zodbshootout imports six without requiring it.
    'zodbshootout': ['zodbshootout', 'pyperf==2.3.0', 'six'],
}
INSTALL_TIMEOUT = 900.0  # seconds; RelStorage may have to be compiled


class CannotInstall(Exception):
    """What is needed cannot be had here; the message is the reason."""


def build_wheel(scratch: Path) -> Path:
    """Build the wheel of this checkout and return it.

    :param scratch: an empty directory.
    """
    copy = scratch / 'copy'
    copy.mkdir()
    for name in 'setup.py', 'pyproject.toml', 'README.rst', 'CHANGES.rst', 'LICENSE':
        shutil.copy(TOP / name, copy)
    ignored = shutil.ignore_patterns('*.egg-info', '__pycache__')
    shutil.copytree(TOP / 'src', copy / 'src', ignore=ignored)
    # with the setuptools that is here: nothing is downloaded
    offline = ['--no-deps', '--no-index', '--no-build-isolation']
    _pip(sys.executable, 'wheel', *offline, '--wheel-dir', scratch, copy)
    (wheel,) = scratch.glob('*.whl')
    return wheel


def make(directory: Path, *requirements: str) -> Path:
    """Return the Python of a virtual environment, which is made unless it is there already.

    :param requirements: what pip installs.
    :raises CannotInstall: when something cannot be installed.
    """
    script = '. scripts/environment.sh; make_environment "$@"'
    _install(['sh', '-c', script, 'sh', directory, sys.executable, *requirements])
    return directory / 'bin' / 'python'


class Environments:
    """The environments of the frameworks, below one directory, made when they are asked for."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        """Build the wheel.

        :param directory: where environments are kept from one run to the next.
        :param scratch: an empty directory, for the wheel.
        """
        self._directory = directory
        self._made: dict[str, Path] = {}
        self._wheel = build_wheel(scratch)

    def python(self, framework: str, side: str) -> Path:
        """Return the Python that has a framework and the ZEO of a side.

        :param framework: a key of REQUIREMENTS.
        :raises CannotInstall: when something cannot be installed.
        """
        name = f'{framework}-{side}'
        if name not in self._made:
            # ZEO first, so that nothing brings in another
            python = make(self._directory / name, PEER, *REQUIREMENTS[framework])
            if side == 'ours':
                _pip(python, 'install', '--force-reinstall', '--no-deps', self._wheel)
            place = run([python, '-c', 'import ZEO; print(ZEO.__file__)'])
            assert 'site-packages' in place, place
            self._made[name] = python
        return self._made[name]

    def source(self, package: str, python: Path) -> Path:
        """Return the unpacked source distribution of a package, in the version that a Python has.

        :raises CannotInstall: when it cannot be downloaded.
        """
        program = f'import importlib.metadata as m; print(m.version({package!r}))'
        version = run([python, '-c', program]).strip()
        place, name = self._directory / 'sources', f'{package}-{version}'
        if not (place / name).is_dir():
            only = ['--no-deps', '--no-binary', ':all:']
            _pip(python, 'download', *only, '--dest', place, f'{package}=={version}')
            shutil.unpack_archive(place / f'{name}.tar.gz', place)
        return place / name


def _pip(python: Path | str, command: str, *arguments: Any) -> None:
    quiet = ['--quiet', '--disable-pip-version-check']
    _install([python, '-m', 'pip', command, *quiet, *arguments])


def _install(command: list[Any]) -> None:
    try:
        run(command, INSTALL_TIMEOUT, cwd=TOP)
    except subprocess.SubprocessError as error:
        raise CannotInstall(str(error)) from None


def run(command: list[Any], timeout: float = 120.0, **options: Any) -> str:
    """Run a command and return what it prints, errors included.

    :param timeout: seconds that it may take.
    :raises subprocess.SubprocessError: with the end of the output, when it fails or takes longer.
    """
    words = [str(word) for word in command]
    result = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env=clean_environment(),
        **options,
    )
    if result.returncode:
        text = ' '.join(words)[:200]
        raise subprocess.SubprocessError(f'{text}: {result.returncode}: {result.stdout[-1500:]}')
    return result.stdout


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what puts another ZEO on the path or names a
    cache.
    """
    unwanted = ('PYTHON', 'ZEO_', 'INSTANCE')
    kept = {name: text for name, text in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, **more}
