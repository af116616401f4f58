"""The examples in the documentation, run as they stand.

A page with the comment ``.. examples: tested`` is typed in from top to bottom, in an empty
directory, as :mod:`support.pages` says.
"""

import builtins
import importlib
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ZEO.Exceptions
import ZEO.start
from support.pages import BLOCK, Reader
from support.sides import SOURCES
from ZEO.cache import ClientCache

TOP = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(TOP / 'docs').as_posix()
    for path in (TOP / 'docs').rglob('*.rst')
    if '.. examples: tested\n' in path.read_text(encoding='utf-8')
)


@pytest.fixture
def reader(tmp_path):
    somebody = Reader(tmp_path)
    yield somebody
    for server in somebody.servers:
        server.kill()


@pytest.mark.timeout(150)  # the page on security starts a dozen processes
@pytest.mark.parametrize(
    'page',
    [
        pytest.param(page, marks=pytest.mark.smoke if page.startswith('start/') else ())
        for page in PAGES
    ],
)
def test_page(page, reader):
    reader.follow((TOP / 'docs' / page).read_text(encoding='utf-8'))
    assert set(reader.leave()) <= {0}


def test_the_tables_and_the_picture_of_the_performance_page_show_its_results():
    script = TOP / 'scripts' / 'performance_page.py'
    done = subprocess.run(
        [sys.executable, str(script), '--check'], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_readme(reader):
    """Each of its Python examples runs beside the server that it starts."""
    text = (TOP / 'README.rst').read_text(encoding='utf-8')
    examples = re.findall(r'::\n\n((?:    .*\n|\n)+)', text)
    programs = [textwrap.dedent(example) for example in examples if 'import ZEO' in example]
    assert len(programs) == 2
    reader.run(reader.here('start.py -p 9100'), 'Listening on ...\nServing storage 1: ...\n')
    for program in programs:
        (reader.directory / 'example.py').write_text(reader.here(program) + 'Storage.close()\n')
        reader.run('python example.py', '')
    assert reader.leave() == [0]


def test_the_links_of_the_readme_lead_to_pages_of_the_documentation():
    text = (TOP / 'README.rst').read_text(encoding='utf-8')
    links = re.findall(r'^\.\. _.*: (\S+)$', text, re.M)
    pages = [link for link in links if link.startswith('docs/')]
    assert pages and len(links) == len(pages) + 1, 'only that of ZODB leads elsewhere'
    assert [page for page in pages if not (TOP / page).is_file()] == []


def test_the_figures_of_the_readme_are_those_of_the_performance_page():
    text = (TOP / 'README.rst').read_text(encoding='utf-8')
    page = (TOP / 'docs' / 'operating' / 'performance-summary.inc').read_text(encoding='utf-8')
    shown = re.findall(r'^  (\w.*?) {2,}(\d.*?) {2,}(\d.*)$', text, re.M)
    assert len(shown) == 3
    for work, theirs, ours in shown:
        assert f'   * - {work}\n     - {theirs}\n     - {ours}\n' in page


def test_a_wrong_page_is_noticed(reader):
    page = '.. code-block:: console\n\n   $ echo one\n   two\n\n'
    with pytest.raises(AssertionError, match='one'):
        reader.follow(page)


def blocks(page):
    """Return what a page shows: (caption or language, text)."""
    text = (TOP / 'docs' / page).read_text(encoding='utf-8')
    for block in BLOCK.finditer(text):
        caption = re.search(r':caption: (\S+)', block['options'])
        yield (
            caption[1] if caption else block['language'],
            textwrap.dedent(block['body']).strip('\n') + '\n',
        )


@pytest.mark.timeout(100)
def test_the_server_and_the_module_of_the_page_on_zope(reader):
    """What it says before a Zope is needed, in an empty directory."""
    found = dict(reversed(list(blocks('start/zope.rst'))))
    for name in 'zeo.conf', 'custom_zodb.py':
        (reader.directory / name).write_text(found[name].replace('8100', str(reader.port('8100'))))
    make, serve = re.findall(r'^\$ (.*)', found['console'], re.M)
    reader.run(make, '')
    process = reader.start(f'exec {serve}')
    reader.servers.append(process)
    process.output.wait_for('serving storage 1')
    (reader.directory / 'use.py').write_text(
        'from custom_zodb import Storage\nprint(Storage.supportsUndo(), Storage.getName() != "")\n'
        'Storage.close()\n'
    )
    reader.run('python use.py', 'True True\n')
    assert (reader.directory / 'var' / 'Data.fs').exists()
    status, said, _ = process.end(signal.SIGTERM)
    assert 'Traceback' not in said and status == 0


def test_the_sample_of_a_caches_statistics_is_what_zeo_cache_prints(tmp_path):
    page = (TOP / 'docs' / 'operating' / 'cache.rst').read_text(encoding='utf-8')
    sample = re.search(r'\$ zeo-cache stats app-1.zec\n((?:    \S.*\n)+)', page)[1]
    cache = ClientCache(str(tmp_path / 'app-1.zec'), 1_000_000, identity='1@db.example:9100')
    cache.store(b'\0' * 8, b'\0' * 7 + b'\1', None, b'data')
    cache.load(b'\0' * 8)
    cache.close()
    done = subprocess.run(
        [sys.executable, '-m', 'ZEO.commands.zeo_cache', 'stats', 'app-1.zec'],
        cwd=tmp_path,
        timeout=50,
        capture_output=True,
        text=True,
    )
    assert labels(textwrap.dedent(sample)) == labels(done.stdout)
    assert re.search(r'^belongs to +1@db.example:9100$', textwrap.dedent(sample), re.M)
    assert re.search(r'^belongs to +1@db.example:9100$', done.stdout, re.M)


def labels(text):
    """Return what stands before the values, two or more spaces apart."""
    return [re.split(r' {2,}', line)[0] for line in text.splitlines()]


REFERENCE = re.compile(r':(?:class|func|meth|mod|attr|data|exc):`~?([\w.]+)`')


def modules():
    """Yield the modules of ZEO, by their dotted names."""
    for path in (SOURCES / 'ZEO').rglob('*.py'):
        name = '.'.join(path.relative_to(SOURCES).with_suffix('').parts).removesuffix('.__init__')
        yield name, path


def exists(target, *places):
    """Tell whether a dotted name can be reached, from nowhere or from one of the places."""
    names = target.split('.')
    for place in places:
        found = place
        for name in names:
            found = getattr(found, name, None)
        if found is not None:
            return True
    for size in range(len(names), 0, -1):
        try:
            found = importlib.import_module('.'.join(names[:size]))
        except ImportError:
            continue
        for name in names[size:]:
            found = getattr(found, name, None)
        return found is not None
    return False


def test_every_reference_in_a_docstring_leads_somewhere():
    """Also in modules that the reference does not show, so that Sphinx cannot notice."""
    wrong, seen = [], 0
    known = [builtins, ZEO.Exceptions]  # need no module in front
    for name, path in modules():
        text = path.read_text(encoding='utf-8')
        targets = REFERENCE.findall(text)
        if not targets:
            continue
        module = importlib.import_module(name)
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        # what only instances have
        born = set(re.findall(r'^ +self\.(\w+)\b', text, re.M))
        for target in targets:
            seen += 1
            if not (exists(target, module, *known, *classes) or target.split('.')[-1] in born):
                wrong.append(f'{name}: {target}')
    assert seen > 50 and wrong == []
