"""What pip installs from this checkout: a wheel, in a directory of its own."""

import ast
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.environments import build_wheel

TOP = Path(__file__).parent.parent
MODULES = sorted(path.relative_to(TOP / 'src') for path in (TOP / 'src' / 'ZEO').rglob('*.py'))
SCHEMAS = sorted(path.relative_to(TOP / 'src') for path in (TOP / 'src' / 'ZEO').rglob('*.xml'))
#: Packages that several distributions share.
NAMESPACES = {'zc', 'zope'}
COMMANDS = 'zeo start.py runzeo zeoctl zeo-nagios zeopack zeo-cache zeo-status'.split()


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A directory with nothing in it but an installed ZEO."""
    wheel = build_wheel(tmp_path_factory.mktemp('wheel'))
    target = tmp_path_factory.mktemp('site')
    arguments = '--quiet --no-deps --no-index --target'.split()
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'install', *arguments, str(target), str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target


def run(site, *command):
    """Run a command with that ZEO; return the finished process."""
    return subprocess.run(
        command,
        env={**os.environ, 'PYTHONPATH': str(site)},
        cwd=site,
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_modules_and_schemas_are_there(site):
    assert SCHEMAS
    assert [name for name in [*MODULES, *SCHEMAS] if not (site / name).is_file()] == []


def test_type_checkers_of_users_see_the_annotations(site):
    assert (site / 'ZEO' / 'py.typed').is_file()


def test_the_metadata_says_what_is_needed(site):
    (ours,) = importlib.metadata.distributions(path=[str(site)])
    assert ours.metadata['Name'] == 'ZEO'
    assert ours.metadata['Requires-Python'] == '>=3.10'
    needed = [line for line in ours.requires if 'extra ==' not in line]
    assert 'ZODB>=5.6' in [line.replace(' ', '') for line in needed]
    assert ours.metadata['License-Expression'] == 'MIT'
    links = [line.split(', ')[0] for line in ours.metadata.get_all('Project-URL')]
    assert links == ['ZODB']  # the documentation is not published anywhere
    licences = [line for line in ours.metadata.get_all('Classifier') if line.startswith('License')]
    assert licences == []  # the expression takes their place
    assert {'test', 'docs', 'certs', 'msgpack', 'zdaemon', 'plot', 'uvloop'} <= set(
        ours.metadata.get_all('Provides-Extra')
    )


def required_imports(path):
    """Return the distributions that a module imports and does not do without."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    optional = {
        id(node)
        for attempt in ast.walk(tree)
        if isinstance(attempt, ast.Try)
        for node in attempt.body
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) not in optional and isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif id(node) not in optional and isinstance(node, ast.ImportFrom):
            names.add(node.module)
    parts = [name.split('.') for name in names]
    return {
        '.'.join(name[:2]) if name[0] in NAMESPACES else name[0]
        for name in parts
        if name[0] not in sys.stdlib_module_names and name[0] != 'ZEO'
    }


def test_what_is_imported_is_declared(site):
    (ours,) = importlib.metadata.distributions(path=[str(site)])
    declared = {re.match(r'[\w.]+', line)[0] for line in ours.requires if 'extra ==' not in line}
    imported = set().union(*(required_imports(TOP / 'src' / name) for name in MODULES))
    assert imported == declared


def test_every_command_has_its_function(site):
    (ours,) = importlib.metadata.distributions(path=[str(site)])
    assert {point.name for point in ours.entry_points} == set(COMMANDS)
    imports = [f'from {point.module} import {point.attr} as main' for point in ours.entry_points]
    found = run(site, sys.executable, '-c', '\n'.join(imports))
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_tells_how_it_is_used(site, command):
    done = run(site, sys.executable, str(site / 'bin' / command), '--help')
    if command == 'zeoctl' and importlib.util.find_spec('zdaemon') is None:
        assert done.returncode and 'zdaemon' in done.stderr and done.stderr.count('\n') == 1
        return
    assert done.returncode == 0, done.stderr
    name = 'zdaemon' if command == 'zeoctl' else command  # whose help it shows
    assert name in done.stdout


@pytest.mark.smoke
def test_the_installed_package_is_what_is_imported(site):
    done = run(site, sys.executable, '-c', 'import ZEO.start; print(ZEO.start.__file__)')
    assert done.stdout.strip() == str(site / 'ZEO' / 'start.py')
