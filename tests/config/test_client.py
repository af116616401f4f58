"""Client storages from configurations: %import ZEO, and ZODB's own zeoclient."""

from __future__ import annotations

import inspect

import pytest
import transaction
import trustme
import ZConfig
from ZODB.config import databaseFromString, storageFromString

import ZEO
import ZEO.ClientStorage
from ZEO.Exceptions import ConfigurationError

PLAIN = {
    'storage': '1',
    'name': '',
    'cache_size': 20 * 2**20,
    'cache': None,
    'client': None,
    'var': None,
    'drop_cache_rather_verify': False,
    'drop_cache_if_older': False,
    'wait': True,
    'wait_timeout': 30.0,
    'read_only': False,
    'read_only_fallback': False,
    'server_sync': False,
    'blob_dir': None,
    'shared_blob_dir': False,
}


@pytest.fixture
def given(monkeypatch):
    """Return what a <clientstorage> with these lines gives to ClientStorage."""
    signature = inspect.signature(ZEO.ClientStorage.ClientStorage)

    class Recorder:
        def __init__(self, *args, **options):
            signature.bind(*args, **options)  # a TypeError here would be one in real life
            self.given = args, options

    monkeypatch.setattr(ZEO.ClientStorage, 'ClientStorage', Recorder)

    def read(*lines, kind='clientstorage', head='%import ZEO'):
        return storageFromString('\n'.join([head, f'<{kind}>', *lines, f'</{kind}>'])).given

    return read


def test_defaults(given):
    assert given('server 8100') == (([('127.0.0.1', 8100)],), PLAIN)


def test_every_key(given):
    args, options = given(
        'server a:1',
        'server [::1]:2',
        'server /run/s',
        'storage s',
        'name n',
        'cache-size 1MB',
        'cache-path c',
        'client x',
        'var v',
        'drop-cache-rather-verify on',
        'drop-cache-if-older on',
        'wait off',
        'wait-timeout 2m',
        'min-disconnect-poll 1',
        'max-disconnect-poll 2',
        'read-only on',
        'read-only-fallback on',
        'server-sync on',
        'prefer nearest',
        'prefer-wait 2m',
        'read-ahead off',
        'blob-dir b',
        'shared-blob-dir on',
        'blob-cache-size 1GB',
        'blob-cache-size-check 20',
        'client-label l',
        'username u',
        'password p',
        'realm r',
    )
    assert args == ([('a', 1), ('::1', 2), '/run/s'],)
    assert options == {
        'storage': 's',
        'name': 'n',
        'cache_size': 2**20,
        'cache': 'c',
        'client': 'x',
        'var': 'v',
        'drop_cache_rather_verify': True,
        'drop_cache_if_older': True,
        'wait': False,
        'wait_timeout': 120.0,
        'min_disconnect_poll': 1.0,
        'max_disconnect_poll': 2.0,
        'read_only': True,
        'read_only_fallback': True,
        'server_sync': True,
        'prefer': 'nearest',
        'prefer_wait': 120.0,
        'read_ahead': False,
        'blob_dir': 'b',
        'shared_blob_dir': True,
        'blob_cache_size': 2**30,
        'blob_cache_size_check': 20,
        'client_label': 'l',
        'username': 'u',
        'password': 'p',
        'realm': 'r',
    }


def test_zodbs_own_section(given):
    args, options = given('server localhost:8100', 'server 8200', kind='zeoclient', head='')
    assert args == ([('localhost', 8100), ('127.0.0.1', 8200)],)
    assert options['storage'] == '1'


def test_wrong_keys():
    for lines, words in [
        ('', 'server'),
        ('server nowhere', 'is not an address'),
        ('server 1\nwait-timeout soon', 'is not a time'),
        ('server 1\nnonsense 1', 'nonsense'),
    ]:
        with pytest.raises(ZConfig.ConfigurationError, match=words):
            storageFromString(f'%import ZEO\n<clientstorage>\n{lines}\n</clientstorage>')


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp('certificates')
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / 'ca.pem'))
    for name in 'localhost', 'client':
        blob = authority.issue_cert(name).private_key_and_cert_chain_pem
        blob.write_to_path(str(folder / f'{name}.pem'))
    return folder


def test_tls_keys(given, certificates):
    args, options = given('server a:1', '<ssl>', '</ssl>')
    assert options['ssl'].check_hostname and options['ssl_server_hostname'] is None
    args, options = given(
        'server a:1',
        '<ssl>',
        f'certificate {certificates}/client.pem',
        f'authenticate {certificates}/ca.pem',
        'check-hostname no',
        'server-hostname b',
        '</ssl>',
    )
    assert not options['ssl'].check_hostname and options['ssl_server_hostname'] == 'b'
    with pytest.raises(ConfigurationError, match='no certificate with its private key'):
        given('server a:1', '<ssl>', f'certificate {certificates}/ca.pem', '</ssl>')


# With real servers.


@pytest.mark.parametrize('head, kind', [('%import ZEO', 'clientstorage'), ('', 'zeoclient')])
def test_a_database(tmp_path, head, kind):
    address, stop = ZEO.server(port=str(tmp_path / 's'))
    try:
        db = databaseFromString(
            f'{head}\n<zodb>\n<{kind}>\nserver {address}\nclient-label x\n</{kind}>\n</zodb>'
        )
        with db.transaction() as connection:
            connection.root()['x'] = 1
        db.close()
    finally:
        stop()


def tls_client(address, folder, *lines):
    host, port = address
    text = '\n'.join(
        [
            '%import ZEO',
            '<clientstorage>',
            f'server {host}:{port}',
            'wait-timeout 5',
            '<ssl>',
            f'authenticate {folder}/ca.pem',
            *lines,
            '</ssl>',
            '</clientstorage>',
        ]
    )
    return storageFromString(text)


@pytest.fixture
def tls_address(certificates):
    address, stop = ZEO.server(
        port=('localhost', 0),
        zeo_conf=f"""
        <ssl>
          certificate {certificates}/localhost.pem
          authenticate {certificates}/ca.pem
        </ssl>""",
    )
    yield 'localhost', address[1]
    stop()


def test_tls_to_a_real_server(tls_address, certificates):
    storage = tls_client(tls_address, certificates, f'certificate {certificates}/client.pem')
    db = ZEO_DB(storage)
    with db.transaction() as connection:
        connection.root()['large'] = 'x' * 1_000_000
    with db.transaction() as connection:
        connection.cacheMinimize()
        assert len(connection.root()['large']) == 1_000_000
    transaction.abort()
    db.close()


def ZEO_DB(storage):
    import ZODB

    return ZODB.DB(storage)


def test_tls_failures_are_told(tls_address, certificates):
    with pytest.raises(Exception, match='requires a certificate from this client'):
        tls_client(tls_address, certificates)
    with pytest.raises(Exception, match="not for the name 'other'"):
        tls_client(
            tls_address,
            certificates,
            f'certificate {certificates}/client.pem',
            'server-hostname other',
        )
