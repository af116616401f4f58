"""The script of the figures: what it counts, on a checkout made for it, and that it runs here."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'structure.py'
_spec = importlib.util.spec_from_file_location('structure', SCRIPT)
structure = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(structure)

FILES = {
    'src/ZEO/__init__.py': '',
    'src/ZEO/first.py': 'import ZEO.second\n\n\ndef loaded(a, b, c, d, e, f, g):\n    """Say."""\n'
    + '    print()\n' * 41,
    'src/ZEO/second.py': 'from ZEO import first, third\n',
    'src/ZEO/third.py': 'class Server:\n    def vote(self):\n        self.commit.finish()\n'
    + '#' * 101,
    'tests/test_it.py': 'x.@own = a.b[0].@c\nself.@own = cls.@own = os.@exit(x.@p_oid)\n',
    'scripts/run.py': 'print()\n',
}


@pytest.fixture
def code(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace('@', '_'))
    return structure.Checkout(tmp_path)


@pytest.mark.parametrize(
    'title, figure',
    {
        'lines of src / tests / scripts': '51 / 2 / 1',
        'longest function': '42 (first.py: loaded)',
        'functions over 40 lines': '1',
        'longest file': '46 (first.py)',
        'files over 350 lines': '0',
        'classes with most methods': '1 (third.py: Server)',
        'classes with 25 methods or more': '0',
        'functions with more than 6 arguments': '1',
        'modules in import circles': '2',
        'lines over 100 columns': '1',
        'private names reached for in tests': '2',
        'modules that take part in a load': '1',
        'modules that take part in an invalidation': '0',
        'modules that take part in a commit': '1',
    }.items(),
)
def test_a_figure_is_right_for_files_that_are_counted_by_hand(code, title, figure):
    assert structure.FIGURES[title](code) == figure


def test_the_script_prints_every_figure_of_this_checkout():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    assert [line[:42].strip() for line in done.stdout.splitlines()] == list(structure.FIGURES)
    assert 'modules in import circles                  0\n' in done.stdout


def test_what_is_not_a_checkout_is_refused(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert f'{tmp_path} is not a checkout: it has no src/ZEO' in done.stderr
