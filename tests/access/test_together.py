"""Certificates, passwords and users of the machine together, at a server as its operator runs it:
files of ``zeo certs`` and ``zeo passwd``, a configuration, a process, signals.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path

import pytest

import ZEO
from support.processes import Process
from ZEO.commands import zeo
from ZEO.Exceptions import AuthError, ClientDisconnected, ClientStorageError
from ZEO.net.tls import client_context

pytest.importorskip('cryptography')

SOURCES = str(Path(ZEO.__file__).parent.parent)
ME = f'unix-user {os.getuid()}'
SECRET = 'correct horse battery staple'

CONFIGURATION = """\
<zeo>
  address 127.0.0.1:0
  address {socket}
  require-access true
  password-file {folder}/passwords
  <ssl>
    certificate {folder}/certs/localhost.pem
    key {folder}/certs/localhost.key
    authenticate {folder}/certs/ca.pem
    {crl}
  </ssl>
  <access main>
    {rules}
  </access>
</zeo>
<mappingstorage main>
</mappingstorage>
<mappingstorage other>
</mappingstorage>
"""

RULES = ['user ops admin', 'certificate CN=app write', f'{ME} read']


class Site:
    """The files of a site, and its server."""

    def __init__(self, folder, socket):
        self.folder, self.socket, self.crl = folder, socket, ''
        names = ['--server=localhost', '--client=app', '--client=guest', '--client=gone']
        assert zeo.main(['certs', str(folder / 'certs'), *names]) in (0, None)
        self.set_password('ops', SECRET)
        self.write(*RULES)
        self.process = Process(
            [sys.executable, '-m', 'ZEO.runzeo', '-C', 'zeo.conf'],
            cwd=folder,
            env={**os.environ, 'PYTHONPATH': SOURCES},
        )
        port = self.process.errors.wait_for(r'listening on 127.0.0.1:(\d+)')[1]
        self.port = ('127.0.0.1', int(port))
        self.process.errors.wait_for('serving storage other')

    def set_password(self, name, secret):
        said = io.BytesIO(f'{secret}\n'.encode())
        before, sys.stdin = sys.stdin, io.TextIOWrapper(said)
        try:
            words = ['--stdin'] if secret else ['--delete']
            assert zeo.main(['passwd', *words, str(self.folder / 'passwords'), name]) in (0, None)
        finally:
            sys.stdin = before

    def write(self, *rules):
        lines = '\n    '.join(f'rule {rule}' for rule in rules)
        text = CONFIGURATION.format(
            socket=self.socket, folder=self.folder, rules=lines, crl=self.crl
        )
        (self.folder / 'zeo.conf').write_text(text)

    def hang_up(self, answer):
        """Send SIGHUP, and wait for the line that answers it."""

        def count():
            return self.process.errors.seen.count(answer)

        before = count()
        self.process.popen.send_signal(signal.SIGHUP)
        self.process.wait_until(lambda: count() > before)

    def open(self, certificate, by_socket=False, **options):
        certs = self.folder / 'certs'
        own = (
            []
            if certificate is None
            else [certs / f'{certificate}.{end}' for end in ('pem', 'key')]
        )
        context = client_context(*map(str, own), authenticate=str(certs / 'ca.pem'))
        return ZEO.client(
            self.socket if by_socket else self.port,
            storage='main',
            ssl=context,
            ssl_server_hostname='localhost',
            **{'wait_timeout': 60, **options},
        )

    def right(self, *args, **options):
        """Return what a client may do; the error where it may do nothing."""
        try:
            client = self.open(*args, read_only_fallback=True, **options)
        except (AuthError, ClientStorageError) as error:
            return f'{type(error).__name__}: {error}'
        try:
            client.pack(time.time(), wait=True)
            return 'admin'
        except AuthError:
            return 'read' if client.isReadOnly() else 'write'
        finally:
            client.close()

    def close(self):
        assert self.process.stop() == 0


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    import tempfile

    with tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp') as short:
        site = Site(tmp_path_factory.mktemp('site'), f'{short}/s')
        yield site
        site.close()


@pytest.fixture(autouse=True)
def as_before(site):
    """Every test begins with the same rules and passwords."""
    yield
    site.write(*RULES)
    site.set_password('ops', SECRET)
    site.hang_up('the rules of access were read again')


OPS = {'username': 'ops', 'password': SECRET}


def test_every_proof_counts_by_the_order_of_the_rules(site):
    assert site.right('app') == 'write'
    assert site.right('app', **OPS) == 'admin'
    assert site.right('app', by_socket=True) == 'write'
    assert site.right('guest', **OPS) == 'admin'
    assert site.right('guest', by_socket=True) == 'read'
    assert site.right('guest', by_socket=True, **OPS) == 'admin'


def test_without_a_rule_about_any_proof_there_is_nothing(site):
    denied = site.right('guest')
    assert denied.startswith('AuthError: 127.0.0.1:') and "there is no storage 'main'" in denied
    assert 'certificate CN=guest' in denied and 'it may use none' in denied


@pytest.mark.parametrize(
    'wrong', [{'password': SECRET + ' '}, {'username': 'nosuch'}, {'username': 'OPS'}]
)
@pytest.mark.parametrize('by_socket', [False, True])
def test_a_wrong_password_is_not_made_up_for_by_another_proof(site, wrong, by_socket):
    """The certificate and the user would have a right of their own."""
    found = site.right('app', by_socket, **{**OPS, **wrong})
    assert found.startswith('AuthError: ') and 'user name with this password' in found


def test_a_password_is_no_way_around_the_certificate(site):
    found = site.right(None, wait_timeout=5, **OPS)
    assert 'AuthError' not in found and 'certificate' in found


def test_a_user_who_is_removed_is_out_at_once_and_for_good(site):
    client = site.open('guest', **OPS)
    assert client.new_oid()
    site.set_password('ops', None)
    site.hang_up('the rules of access were read again')
    with pytest.raises(AuthError, match='user name with this password'):
        while True:
            try:
                client.ping()
            except ClientDisconnected:  # the call that was under way
                pass
    client.close()


def test_a_changed_password_and_changed_rules_come_with_one_signal(site):
    site.set_password('ops', 'another one')
    site.write('user ops write', 'certificate CN=guest admin')
    site.hang_up('new: user ops write (main)')
    assert site.right('app', username='ops', password='another one') == 'write'
    assert site.right('app', **OPS).startswith('AuthError')
    assert site.right('app').startswith('AuthError')
    assert site.right('guest') == 'admin'


def test_each_of_two_files_is_read_though_the_other_one_is_broken(site):
    site.write('user ops amdin')
    site.set_password('ops', 'another one')
    site.hang_up('the rules of access stay as they were')
    assert site.right('guest', username='ops', password='another one') == 'admin'
    path = site.folder / 'passwords'
    kept = path.read_bytes()
    path.write_bytes(kept[: len(kept) // 2] + b'\0')
    site.write('user * write')
    site.hang_up('new: user * write (main)')
    assert 'the passwords stay as they were' in site.process.errors.seen
    assert site.right('guest', username='ops', password='another one') == 'write'
    path.write_bytes(kept)


def test_certificates_that_are_renewed_and_revoked_count_after_a_signal(site):
    """For clients that connect then; those that are connected stay until a rule is against them."""
    certs = str(site.folder / 'certs')
    client = site.open('app')
    assert zeo.main(['certs', certs, '--renew', 'localhost', '--revoke', 'gone']) in (0, None)
    site.crl = f'crl {certs}/crl.pem'
    site.write(*RULES)
    site.hang_up('the files of <ssl> were read again')
    found = site.right('gone', wait_timeout=5, **OPS)
    assert 'AuthError' not in found and 'revoked' in found
    assert site.right('app') == 'write' and client.new_oid()
    site.write('certificate CN=app nothing', *RULES)
    site.hang_up('new: certificate CN=app nothing')
    with pytest.raises(AuthError):
        while True:
            try:
                client.new_oid()
                client.ping()
            except ClientDisconnected:  # the call that was under way
                pass
    client.close()


def test_what_was_denied_is_counted_and_is_in_the_log_without_a_secret(site):
    assert 'AuthError' in site.right('guest', username='ops', password='the wrong secret')
    client = site.open('app', **OPS)
    assert client.server_status()['denied']['password'] >= 1
    client.close()
    log = site.process.errors.seen
    assert 'denied: the password of user' in log
    assert SECRET not in log and 'the wrong secret' not in log
