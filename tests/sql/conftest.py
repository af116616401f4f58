"""A PostgreSQL for the tests here: one for each process of pytest, a database for each test.

Without PostgreSQL, RelStorage and a driver these tests are skipped; in CI they fail.
"""

import importlib.util
import os
import tempfile
from dataclasses import dataclass
from typing import Any

import pytest

from support import postgres

NEEDED = ('relstorage', 'psycopg2')


def missing():
    """Return what is missing for these tests; None when all is there."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            return f'{name} is not installed: pip install relstorage psycopg2-binary'
    try:
        postgres.find('initdb')
    except LookupError as error:
        return str(error)
    return None


def pytest_collection_modifyitems(items):
    """Skip what cannot run, but not where everything has to run."""
    why = None if os.environ.get('CI') else missing()
    if why:
        for item in items:
            if item.path.is_relative_to(os.path.dirname(__file__)):
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope='session')
def cluster():
    """A running PostgreSQL."""
    yield postgres.cluster()
    postgres.end()


@dataclass
class Sql:
    """A database, and how it is opened."""

    cluster: Any
    name: str
    keeps_history: bool

    def open(self):
        """Return a RelStorage without a server between."""
        return self.cluster.open(self.name, self.keeps_history)

    def section(self, more=''):
        """Return its section in a configuration file."""
        return self.cluster.section(self.name, self.keeps_history, more)

    def execute(self, statement, *parameters):
        """Execute a statement; return its rows."""
        return self.cluster.execute(self.name, statement, *parameters)


@pytest.fixture(params=[True, False], ids=['history', 'no-history'])
def sql(cluster, request):
    """A database that keeps history, and one that does not."""
    name = cluster.create_for(request.param)
    yield Sql(cluster, name, request.param)
    cluster.drop(name)


@pytest.fixture
def sqlite():
    """The section of a RelStorage on SQLite."""
    with tempfile.TemporaryDirectory(prefix='zeo-sqlite-') as directory:
        yield (
            '%import relstorage\n<relstorage>\n keep-history true\n'
            f' <sqlite3>\n  data-dir {directory}\n </sqlite3>\n</relstorage>\n'
        )
