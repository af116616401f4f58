"""RelStorage's zodbconvert through a ZEO server and back, and ZODB's own scripts on the result."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.environments import run

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1200)]

FILE = """\
<filestorage {role}>
  path {directory}/{name}.fs
  blob-dir {directory}/{name}-blobs
</filestorage>
"""
ZEO = """\
<zeoclient {role}>
  server 127.0.0.1:{port}
  blob-dir {directory}/client-blobs-{role}
</zeoclient>
"""
DATA = Path(__file__).with_name('convert_data.py')
PROGRAM = """\
import sys, ZEO, transaction
c = ZEO.connection(("127.0.0.1", int(sys.argv[1])), wait_timeout=30)
for n in range(int(sys.argv[2])):
    c.root()[n] = c.root().__class__({n: "x" * n}); transaction.commit()
c.close()
"""


@pytest.fixture
def server(processes, sides, port):
    """A server of the storage ``served``, beside a filled one, ``original``."""
    server = processes.serve(sides.python('relstorage', sides.server), port, name='served')
    yield server
    assert server.stop() == 0


@pytest.fixture
def python(sides):
    return sides.python('relstorage', sides.client)


def test_a_storage_is_copied_into_the_server_and_back(server, python, sides, port, tmp_path):
    """All of it: users, descriptions, extensions, records and blobs. With ZEO 6 as the client,
    zodbconvert leaves the blobs behind.
    """
    run([python, DATA, 'make', tmp_path / 'original.fs', tmp_path / 'original-blobs'])
    for source, destination in ((FILE, ZEO), (ZEO, FILE)):
        text = source.format(role='source', name='original', port=port, directory=tmp_path)
        text += destination.format(
            role='destination', name='returned', port=port, directory=tmp_path
        )
        (tmp_path / 'convert.conf').write_text(text)
        run([python.parent / 'zodbconvert', tmp_path / 'convert.conf'], cwd=tmp_path)
    assert server.stop() == 0
    command = 'show-without-blobs' if sides.client == 'peer' else 'show'
    original, served, returned = (
        run([python, DATA, command, tmp_path / f'{name}.fs', tmp_path / f'{name}-blobs'])
        for name in ('original', 'served', 'returned')
    )
    assert served == original
    assert returned == original
    _check_scripts(python, tmp_path / 'returned.fs')


def test_zodbs_scripts_find_nothing_wrong(server, python, port, tmp_path):
    """repozo backs the server's file up while it runs; fstest and fsrefs look at it afterwards."""
    backup, served, restored = (tmp_path / name for name in ('backup', 'served.fs', 'restored.fs'))
    backup.mkdir()
    repozo = [python, '-m', 'ZODB.scripts.repozo', '-r', backup]
    run([python, '-c', PROGRAM, port, 40])
    run([*repozo, '-B', '-f', served, '-F'])
    # repozo names its files by the second, and two backups in one get in each other's way
    time.sleep(1.1)
    run([python, '-c', PROGRAM, port, 20])
    run([*repozo, '-B', '-f', served])
    assert server.stop() == 0
    run([*repozo, '-R', '-o', restored])
    assert restored.read_bytes() == served.read_bytes()
    for path in served, restored:
        _check_scripts(python, path)


def _check_scripts(python, path):
    for script in ('fstest', 'fsrefs'):
        assert run([python, '-m', f'ZODB.scripts.{script}', path]).strip() == ''
