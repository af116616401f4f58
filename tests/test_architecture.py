"""The direction of imports between packages, and which package may import what from Python.

Every import counts, also one inside a function or under TYPE_CHECKING.
"""

import ast
import re
from pathlib import Path

import pytest

import ZEO.Exceptions

PACKAGE = Path(ZEO.Exceptions.__file__).parent
PAGE = Path(__file__).parent.parent / 'docs' / 'developing' / 'architecture.rst'
MODULES = {
    path.relative_to(PACKAGE).with_suffix('').as_posix(): path for path in PACKAGE.rglob('*.py')
}

#: What each package may import of those below it.  A module beside the packages counts as one, too;
#: those that are not named here stand at the top and may import everything that is.
BELOW = {
    'version': set(),
    'Exceptions': set(),
    'files': set(),
    'locks': set(),
    'leftovers': set(),
    'incoming': {'files'},
    'interfaces': {'Exceptions'},
    'wire': {'Exceptions'},
    'net': {'wire', 'locks', 'Exceptions'},
    'cache': {'wire', 'interfaces', 'locks', 'files', 'Exceptions'},
    'serving': {
        'net',
        'wire',
        'interfaces',
        'incoming',
        'leftovers',
        'files',
        'Exceptions',
        'version',
    },
    'link': {
        'cache',
        'net',
        'wire',
        'interfaces',
        'incoming',
        'leftovers',
        'locks',
        'files',
        'Exceptions',
    },
    'StorageServer': {'serving', 'net', 'wire', 'interfaces', 'files', 'Exceptions'},
    'ClientStorage': {'link', 'cache', 'net', 'wire', 'interfaces', 'files', 'Exceptions'},
}
BELOW['progress'] = {'net', 'serving'}
BELOW['replica'] = {
    *BELOW['StorageServer'],
    'StorageServer',
    'ClientStorage',
    'link',
    'progress',
}
BELOW['config'] = set(BELOW)
BELOW['data'] = set(BELOW)
BELOW['commands'] = set(BELOW)
TOP = {
    '__init__',
    '__main__',
    'databases',
    'embedded',
    'scripts',
    'start',
    'runzeo',
    'zeoctl',
    'nagios',
}

NETWORK = {'socket', 'select', 'selectors', 'ssl', 'socketserver', 'asyncio'}
THREADS = {'threading', '_thread', 'concurrent', 'multiprocessing', 'queue'}
#: What serving and link may take from `time`: the forms of a time, not the time itself.
TIME_FORMATS = {'time.ctime', 'time.gmtime', 'time.localtime', 'time.strftime'}


def part(module):
    """Return the package of a module (or its own name), given its path below ZEO."""
    return module.split('/')[0]


def modules(wanted):
    """Return the modules whose package is wanted."""
    return sorted(module for module in MODULES if wanted(part(module)))


def imports(path):
    """Return the dotted names that a file imports: modules, and what it takes from modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'), str(path))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative imports hide the direction'
            found.update(f'{node.module}.{alias.name}' for alias in node.names)
    return found


def parts_imported(path):
    """Return the packages of ZEO that a file imports."""
    parts = [name.split('.') for name in imports(path)]
    ours = {name[1] for name in parts if name[0] == 'ZEO' and len(name) > 1}
    known = {part(module) for module in MODULES}
    return {name if name in known else '__init__' for name in ours}


def packages_imported(path):
    """Return the top-level packages that a file imports."""
    return {name.split('.')[0] for name in imports(path)}


def test_there_is_something_to_look_at():
    assert {'wire/frames', 'net/loop', 'config/storages', 'start'} <= set(MODULES)


def test_every_package_has_its_place():
    assert {part(module) for module in MODULES} <= set(BELOW) | TOP


@pytest.mark.parametrize('module', sorted(MODULES))
def test_imports_point_downward(module):
    here = part(module)
    allowed = BELOW.get(here, set(BELOW) | TOP) | {here}
    assert parts_imported(MODULES[module]) <= allowed


def test_the_table_itself_points_downward():
    order = list(BELOW)
    for name, below in BELOW.items():
        assert all(order.index(other) < order.index(name) for other in below)
    assert 'serving' not in BELOW['link'] and 'link' not in BELOW['serving']
    assert 'cache' not in BELOW['net'] and 'net' not in BELOW['cache']


@pytest.mark.parametrize('module', modules(lambda here: here != 'net'))
def test_only_net_touches_the_network(module):
    assert not packages_imported(MODULES[module]) & NETWORK


@pytest.mark.parametrize('module', modules(lambda here: here == 'wire'))
def test_wire_is_pure(module):
    assert not packages_imported(MODULES[module]) & (NETWORK | THREADS | {'time', 'logging'})


@pytest.mark.parametrize('module', modules(lambda here: here in ('serving', 'link')))
def test_clocks_and_threads_come_from_net(module):
    taken = imports(MODULES[module])
    assert not packages_imported(MODULES[module]) & THREADS
    assert {name for name in taken if name.split('.')[0] == 'time'} <= TIME_FORMATS


@pytest.mark.parametrize('module', sorted(MODULES))
def test_every_module_says_in_one_form_what_it_is_for_and_how_it_fails(module):
    """A summary in one line, and a paragraph that tells what enters, what leaves and how it fails.

    The file of a package that defines nothing needs the summary only.
    """
    tree = ast.parse(MODULES[module].read_text(encoding='utf-8'))
    summary, *paragraphs = ast.get_docstring(tree).split('\n\n')
    assert summary[-1] in '.?' and '\n' not in summary
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body):
        (contract,) = [text for text in paragraphs if 'Enters:' in text]
        assert re.fullmatch(r'Enters: .+ Leaves: .+ Fails: .+', ' '.join(contract.split()))
    else:
        assert module.endswith('__init__') or 'Enters: ' in ''.join(paragraphs)


def test_the_list_of_modules_is_true():
    """docs/developing/architecture.rst shows every module, and none that is not there."""
    text = PAGE.read_text(encoding='utf-8')
    picture = re.search(r'\.\. modules\n\n::\n\n((?:    .*\n)+)', text)[1]
    shown, here = set(), ''
    for line in picture.splitlines():
        heading = re.match(r'    (\S.*?)(?:   |$)', line)
        if heading:
            here = heading[1] if heading[1].endswith('/') else ''
        else:
            shown.add(here + line.split()[0].removesuffix('.py'))
    packages = {module for module in MODULES if module.endswith('/__init__')}
    commands = {module for module in MODULES if part(module) == 'commands'}
    there = set(MODULES) - packages - commands
    missing, gone = sorted(there - shown), sorted(shown - set(MODULES))
    assert (missing, gone) == ([], []), (
        'add the first, remove the second in docs/developing/architecture.rst'
    )


def defined(path):
    """Return the names of a file's functions and methods, those of methods with their class."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    methods = {
        f'{node.name}.{part.name}'
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.FunctionDef)
    }
    return functions | methods


def test_the_places_of_the_ten_behaviours_are_there():
    text = PAGE.read_text(encoding='utf-8').partition('.. behaviours')[2]
    table = text.partition('\nModules\n')[0]
    places = re.findall(r'^     - ``(\S+\.py)``\n     - ``(\S+)``$', table, re.M)
    assert len(places) == table.count('   * - ') - 1 >= 10
    missing = [place for place in places if place[1] not in defined(PACKAGE / place[0])]
    assert missing == [], f'say in {PAGE.name} where that happens now'
