"""What zeo certs prints, pasted into configuration files: a server and a client that work."""

import subprocess
import sys

import pytest

from support.certs import Certs
from support.processes import Process, free_port
from ZEO.commands import zeo

VISIT = """
import sys, ZODB.config
db = ZODB.config.databaseFromURL(sys.argv[1])
with db.transaction() as connection:
    connection.root.visited = True
db.close()
"""


@pytest.fixture
def printed(tmp_path, capsys):
    """Return what was printed for a server and two clients, by the names in the first lines."""
    certs = Certs(tmp_path / 'the $certs', capsys)
    text = certs.make('--server', 'localhost', '--client', 'app1', '--client', 'app2')
    parts = text.replace('8100', str(free_port())).split('\n# For ')[1:]
    found = {part.split(',')[0].split()[-1]: part.split('\n', 1)[1] for part in parts}
    return certs, found


def test_the_printed_sections_start_a_server_and_let_the_clients_in(printed, tmp_path, capsys):
    certs, parts = printed
    conf = tmp_path / 'zeo.conf'
    conf.write_text(parts['localhost'] + '<filestorage>\n  path Data.fs\n</filestorage>\n')
    assert zeo.main(['check', str(conf)]) == 0
    assert 'with TLS; clients need a certificate' in capsys.readouterr().out
    server = Process([sys.executable, '-m', 'ZEO', 'serve', '-C', 'zeo.conf'], cwd=tmp_path)
    try:
        server.errors.wait_for('serving storage 1')
        assert visit(tmp_path, parts['app1']) == (0, '')
        # a client that the authority has signed and that no rule is about
        certs.make('--client', 'app3')
        status, errors = visit(tmp_path, parts['app2'].replace('app2.', 'app3.'))
        assert status == 1 and 'AuthError' in errors and 'CN=app3' in errors
    finally:
        server.stop()


def visit(directory, section):
    """Return the exit status of a client, and what it has written to standard error."""
    (directory / 'zope.conf').write_text(f'%import ZEO\n<zodb>\n{section}</zodb>\n')
    done = subprocess.run(
        [sys.executable, '-c', VISIT, 'zope.conf'],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=50,
    )
    return done.returncode, done.stderr


def test_without_clients_the_printed_rules_let_no_one_in(tmp_path, capsys):
    certs = Certs(tmp_path / 'certs', capsys)
    text = certs.make('--server', 'db.example.org')
    (tmp_path / 'zeo.conf').write_text(text + '<mappingstorage>\n</mappingstorage>\n')
    assert zeo.main(['check', str(tmp_path / 'zeo.conf')]) == 0
