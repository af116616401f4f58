"""The page on servers in front of a database, typed in from top to bottom.

What a reader installs is there already; everything else runs as it stands, with a PostgreSQL of the
tests' own.
"""

import os
import sys
from pathlib import Path

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from support import postgres
from support.pages import COMMANDS, Reader

PAGE = Path(__file__).parents[2] / 'docs' / 'operating' / 'scaling.rst'

#: In place of sudo: the superuser of the tests' cluster; what it would install is there.
SUDO = """#!/bin/sh
if [ "$1" = apt-get ]; then exit 0; fi
shift 2
exec "$@"
"""

#: In place of Python: a virtual environment has what the tests' own has.
VENV = """#!/bin/sh
if [ "$2" != venv ]; then exec {python} "$@"; fi
mkdir -p "$3/bin"
for program in {programs}; do ln -s "$PWD/.bin/$program" "$3/bin/$program"; done
"""


class SqlReader(Reader):
    """Somebody who has a PostgreSQL."""

    def __init__(self, directory, cluster):
        super().__init__(directory)
        self._host = f'host={cluster.directory}'
        programs = directory / '.bin'
        names = ' '.join([*COMMANDS, 'pip'])
        texts = {
            'sudo': SUDO,
            'pip': '#!/bin/sh\n',
            'python3': VENV.format(python=sys.executable, programs=names),
        }
        for name, text in texts.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        path = [self.environ['PATH'], os.path.dirname(postgres.find('postgres'))]
        self.environ |= {
            'PATH': os.pathsep.join(path),
            'PGHOST': cluster.directory,
            'PGUSER': 'postgres',
        }

    def here(self, text):
        """Return a text with the socket of the cluster in place of a port of this machine."""
        return super().here(text).replace('host=127.0.0.1', self._host)


@pytest.fixture
def reader(tmp_path, cluster):
    somebody = SqlReader(tmp_path, cluster)
    yield somebody
    for server in somebody.servers:
        server.kill()
    for name in 'zodb', 'moved':
        cluster.drop(name)
    cluster.execute('postgres', 'drop role if exists zodb')


def transactions(path):
    """Return all that a FileStorage has."""
    storage = FileStorage(str(path), read_only=True)
    found = [
        (one.tid, one.user, one.description, [(record.oid, record.data) for record in one])
        for one in storage.iterator()
    ]
    storage.close()
    return found


@pytest.mark.timeout(150)
def test_the_page_works_as_it_stands_and_brings_a_file_there_and_back(reader, tmp_path):
    database = ZODB.DB(FileStorage(str(tmp_path / 'Data.fs')))
    with database.transaction('the first commit') as connection:
        connection.root()['value'] = 1
    with database.transaction('the second one') as connection:
        connection.root()['value'] = 2
    database.close()
    transaction.abort()
    reader.follow(PAGE.read_text(encoding='utf-8'))
    assert set(reader.leave()) == {0}
    moved = transactions(tmp_path / 'Data.fs')
    assert len(moved) == 3 and transactions(tmp_path / 'Back.fs') == moved
