"""A replica proves its user's password to its primary, over TLS."""

from persistent.mapping import PersistentMapping
from ZODB.blob import Blob

from support.certs import Certs
from support.replicas import wait_for
from ZEO.serving.access import secrets_file
from ZEO.serving.access.access import Access
from ZEO.serving.access.secrets import set_secret
from ZEO.wire import scram


def test_over_tls_with_a_password(site, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('ZEO.serving.access.secrets.ITERATIONS', scram.LEAST_ITERATIONS)
    certs = Certs(tmp_path / 'certs', capsys)
    certs.make('--server', 'localhost', '--client', 'app1')
    server, client = certs.contexts()
    passwords = str(tmp_path / 'passwords')
    with secrets_file.change(passwords, may_create=True) as kept:
        set_secret(kept, 'copier', 'correct horse battery')
    primary = site.serve(
        site.file('primary'),
        ssl=server,
        password_file=passwords,
        access=Access.of(['user copier write']),
    )
    reach = {'ssl': client, 'ssl_server_hostname': 'localhost', 'username': 'copier'}
    db = site.db(primary.addr, password='correct horse battery', **reach)
    with db.transaction() as connection:
        connection.root()['a'] = PersistentMapping(b=Blob(b'secret'))
    replica = site.replica(primary.addr, password='wrong', **reach)
    assert not replica.wait_until_following(1)
    assert 'password' in replica.replica_status()['error']
    replica.close()
    replica = site.replica(primary.addr, password='correct horse battery', **reach)
    wait_for(replica, db.storage.lastTransaction())
    assert site.same_files()
