"""The environments that the checks run in: what frameworks need, from PyPI, with one of the two
ZEOs.

Enters: a framework's requirements and a side, ``ours`` or ``peer``. Leaves: a virtual environment
in the work directory that has this checkout as an installed wheel, or ZEO 6 from PyPI. Fails:
:class:`CannotRun` with pip's own words when something cannot be installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from report import CannotRun, Report

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
SHOWN = (
    'Zope',
    'Products.CMFPlone',
    'plone.recipe.zeoserver',
    'plone.recipe.zope2instance',
    'pyramid',
    'pyramid_zodbconn',
    'zodburi',
    'RelStorage',
    'zodbshootout',
    'ZODB',
    'ZEO',
    'transaction',
    'waitress',
)
INSTALL_TIMEOUT = 900.0  # seconds; RelStorage may have to be compiled


class Environments:
    """The environments below one directory, made when they are asked for.

    :param directory: where they are kept from one run to the next.
    :param source: the checkout that the wheel is made of.
    """

    def __init__(self, directory: Path, report: Report, source: Path = TOP) -> None:
        self._directory = directory
        self._source = source
        self._report = report
        self._wheel: Path | None = None
        self._made: dict[str, Path] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def python(self, framework: str, side: str = 'ours') -> Path:
        """Return the Python that has `framework` (a key of REQUIREMENTS) and the ZEO of `side`.

        :raises CannotRun: when something cannot be installed.
        """
        name = f'{framework}-{side}'
        if name not in self._made:
            self._made[name] = self._make(name, REQUIREMENTS[framework], side)
            self._show(name, self._made[name])
        return self._made[name]

    def source(self, package: str) -> Path:
        """Download the source distribution of `package`, in the version that its framework's
        environment has, and unpack it.
        """
        python = self.python('pyramid')
        version = run(
            [python, '-c', f'import importlib.metadata as m; print(m.version({package!r}))']
        ).strip()
        place = self._directory / 'sources'
        unpacked = place / f'{package}-{version}'
        if not unpacked.is_dir():
            self._pip(
                python,
                'download',
                '--no-deps',
                '--no-binary',
                ':all:',
                '--dest',
                place,
                f'{package}=={version}',
            )
            shutil.unpack_archive(place / f'{package}-{version}.tar.gz', place)
        return unpacked

    def _make(self, name: str, requirements: list[str], side: str) -> Path:
        place = self._directory / name
        python = place / 'bin' / 'python'
        zeo = [PEER] if side == 'peer' else [str(self._built())]
        marker = place / 'installed'
        wanted = f'{sys.version} {requirements} {side}'
        if not marker.is_file() or marker.read_text() != wanted:
            self._report.say(f'making the environment {name}: {", ".join(requirements)}')
            run([sys.executable, '-m', 'venv', '--clear', place])
            self._pip(python, 'install', *zeo)  # first, so that nothing brings in another
            self._pip(python, 'install', *requirements)
            marker.write_text(wanted)
        elif side == 'ours':
            self._pip(python, 'install', '--force-reinstall', '--no-deps', *zeo)
        return python

    def _built(self) -> Path:
        """Return a wheel of this checkout, built in a copy, so that nothing is left in the
        checkout.
        """
        if self._wheel is None:
            with tempfile.TemporaryDirectory() as copy:
                for name in (
                    'setup.py',
                    'pyproject.toml',
                    'README.rst',
                    'CHANGES.rst',
                    'LICENSE',
                    'MANIFEST.in',
                ):
                    shutil.copy(self._source / name, copy)
                shutil.copytree(
                    self._source / 'src',
                    Path(copy, 'src'),
                    ignore=shutil.ignore_patterns('*.egg-info', '__pycache__'),
                )
                self._pip(
                    sys.executable, 'wheel', '--no-deps', '--wheel-dir', self._directory, copy
                )
            self._wheel = max(
                self._directory.glob('[Zz][Ee][Oo]-*.whl'), key=lambda path: path.stat().st_mtime
            )
            digest = hashlib.sha256(self._wheel.read_bytes()).hexdigest()[:12]
            self._report.say(f'built {self._wheel.name} of this checkout, sha256 {digest}…')
        return self._wheel

    def _pip(self, python: Path | str, command: str, *args: object) -> None:
        words = [python, '-m', 'pip', command, '--quiet', '--disable-pip-version-check', *args]
        result = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=INSTALL_TIMEOUT
        )
        if result.returncode:
            errors = [
                line for line in result.stderr.splitlines() if line.startswith('ERROR')
            ] or result.stderr.splitlines()[-3:]
            raise CannotRun(f'pip {command} {" ".join(map(str, args))}: {" ".join(errors)}')

    def _show(self, name: str, python: Path) -> None:
        program = (
            'import importlib.metadata as m, ZEO\n'
            f'for n in {SHOWN!r}:\n'
            '    try: print(n, m.version(n), end="  ")\n'
            '    except m.PackageNotFoundError: pass\n'
            'print(); assert "site-packages" in ZEO.__file__, ZEO.__file__'
        )
        self._report.say(f'{name}: ' + run([python, '-c', program]).strip())


def run(words: list, timeout: float = 120.0, **options) -> str:
    """Run a command and return what it prints, errors included.

    :raises subprocess.SubprocessError: with the end of the output, when it fails or takes longer
        than `timeout` seconds.
    """
    result = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env=clean_environment(),
        **options,
    )
    if result.returncode:
        raise subprocess.SubprocessError(
            f'{" ".join(map(str, words))[:200]}: exit {result.returncode}: {result.stdout[-1500:]}'
        )
    return result.stdout


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would put another ZEO on the path or name a
    cache.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ('PYTHONPATH', 'PYTHONHOME', 'ZEO_CLIENT', 'INSTANCE', 'INSTANCE_HOME')
    }
    return {**kept, **more}
