"""What a server's configuration means."""

from __future__ import annotations

from contextlib import closing

import pytest
import trustme
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from ZEO.config.loading import load_text
from ZEO.config.server import OLD_KEYS, open_server, settings
from ZEO.Exceptions import ConfigurationError
from ZEO.serving.limits import KEYS, Limits, bounds
from ZEO.serving.resolve import DEFAULT_MODULES
from ZEO.serving.slow import SlowTimes

MAPPING = '<mappingstorage>\n</mappingstorage>\n'


def zeo(*lines, storages=MAPPING):
    """Return the settings of a <zeo> section with these lines."""
    section = '\n'.join(['<zeo>', 'address 127.0.0.1:0', *lines, '</zeo>', ''])
    return settings(load_text(section + storages, 'zeo.conf'))


def test_a_bare_section_leaves_the_defaults():
    found = zeo()
    assert found.addresses == [('127.0.0.1', 0)]
    assert list(found.storages) == ['1']
    assert found.options == {
        'read_only': False,
        'invalidation_queue_size': 100,
        'client_conflict_resolution': False,
        'msgpack': False,
        'notify': False,
        'wait_for_replicas': 0,
        'replica_timeout': 10.0,
        'replica_timeout_action': 'warn',
        'fence': 0,
        'read_ahead': 'network',
        'slow': SlowTimes(),
        'limits': Limits(),
        'conflict_modules': list(DEFAULT_MODULES),
    }
    assert found.pid_file is None and not found.warnings and not found.loggers


def test_every_key_arrives_as_an_option(tmp_path):
    found = zeo(
        f'address {tmp_path}/s',
        'address [::1]:8100',
        'read-only on',
        'invalidation-queue-size 7',
        'invalidation-age 2m',
        'transaction-timeout 1h',
        f'pid-filename {tmp_path}/pid',
        'client-conflict-resolution on',
        'msgpack on',
        'poll-interval 0.5',
        'notify on',
        'wait-for-replicas 2',
        'replica-timeout 1m',
        'replica-timeout-action refuse',
        'fence 1',
        'read-ahead always',
        'conflict-module shop.basket',
        'conflict-module Products',
        'max-connections 5',
        'max-message-size 1GB',
        'max-handshake-size 1KB',
        'handshake-timeout 3',
        'output-buffer-size 2MB',
        'commit-buffer-size 3MB',
        'record-cache-size 0',
        'max-iterators 4',
        'slow-commit 250',
        'slow-load 0',
        'slow-pack 1h',
        'stop-time 1m',
    )
    assert found.addresses == [('127.0.0.1', 0), f'{tmp_path}/s', ('::1', 8100)]
    assert found.pid_file == f'{tmp_path}/pid' and found.stop_time == 60
    assert found.options == {
        'read_only': True,
        'invalidation_queue_size': 7,
        'invalidation_age': 120.0,
        'transaction_timeout': 3600.0,
        'client_conflict_resolution': True,
        'msgpack': True,
        'poll_interval': 0.5,
        'notify': True,
        'wait_for_replicas': 2,
        'replica_timeout': 60.0,
        'replica_timeout_action': 'refuse',
        'fence': 1,
        'read_ahead': 'always',
        'conflict_modules': [*DEFAULT_MODULES, 'shop.basket', 'Products'],
        'slow': SlowTimes(commit=250, load=0, pack=3600),
        'limits': Limits(
            connections=5,
            message_size=2**30,
            handshake_size=2**10,
            handshake_time=3,
            output_buffer=2**21,
            commit_memory=3 * 2**20,
            record_memory=0,
            iterators=4,
        ),
    }


def test_every_key_of_a_limit_is_in_the_schema():
    found = zeo(*(f'{bound.key} 3' for bound in bounds() if bound.key is not None))
    assert all(getattr(found.options['limits'], name) == 3 for name in KEYS.values())


def test_zero_means_no_transaction_timeout():
    assert zeo('transaction-timeout 0').options['transaction_timeout'] is None


@pytest.mark.parametrize('key', OLD_KEYS)
def test_old_keys_are_accepted_with_a_warning(key):
    found = zeo(f'{key.replace("_", "-")} 8200')
    [warning] = found.warnings
    assert warning.startswith(f'zeo.conf, line 3: {key.replace("_", "-")} is ignored: ')


def test_a_storage_without_a_name_is_called_1():
    found = zeo(storages=MAPPING + '<mappingstorage two>\n</mappingstorage>')
    assert list(found.storages) == ['1', 'two']


def test_one_name_for_two_storages():
    with pytest.raises(ConfigurationError, match="line 6: duplicate storage name '1'"):
        zeo(storages=MAPPING + MAPPING)


def test_nothing_to_serve_and_nowhere():
    with pytest.raises(ConfigurationError, match='no storage to serve'):
        zeo(storages='').check()
    with pytest.raises(ConfigurationError, match='no address to listen on'):
        settings(load_text(MAPPING, 'zeo.conf')).check()


def test_a_log_in_a_missing_directory():
    with pytest.raises(ConfigurationError, match='line 7: there is no directory /missing'):
        zeo(storages=MAPPING + '<eventlog>\n<logfile>\npath /missing/log\n</logfile>\n</eventlog>')


def test_loggers_of_the_file_are_kept():
    found = zeo(storages=MAPPING + '<logger>\nname ZEO\n</logger>\n<eventlog>\n</eventlog>')
    assert found.has_eventlog and len(found.loggers) == 2
    assert found.loggers[0].name is None


def opened(text):
    """Open a server from a configuration, and close it; return its storages."""
    server = open_server(zeo(storages=text))
    storages = server.storages
    server.close()
    return storages


def test_a_server_is_opened_from_its_settings(tmp_path):
    storages = opened(
        f'<filestorage>\npath {tmp_path}/a.fs\n</filestorage>\n'
        f'<demostorage demo>\n{MAPPING}</demostorage>'
    )
    assert isinstance(storages['1'], FileStorage)
    assert isinstance(storages['demo'].base, MappingStorage)


@pytest.mark.parametrize(
    'text, words',
    [
        ('<filestorage>\npath {}/a.fs\nread-only on\n</filestorage>', 'No such file'),
        ('<blobstorage>\nblob-dir {}/b\n</blobstorage>', 'AttributeError'),
        ('<clientstorage>\nserver {}/s\nwait-timeout 0.1\n</clientstorage>', 'ClientDisconnected'),
    ],
)
def test_storages_that_do_not_open(tmp_path, text, words):
    with pytest.raises(ConfigurationError, match="line 4: cannot open storage '1'.*" + words):
        opened(text.format(tmp_path))


def test_storages_are_closed_when_the_start_fails(tmp_path):
    file = f'<filestorage>\npath {tmp_path}/a.fs\n</filestorage>\n'
    held = FileStorage(f'{tmp_path}/b.fs')
    with (
        closing(held),
        pytest.raises(
            ConfigurationError, match="line 7: cannot open storage 'two'.*has the database open"
        ),
    ):
        opened(file + file.replace('<filestorage>', '<filestorage two>').replace('a.fs', 'b.fs'))
    FileStorage(f'{tmp_path}/a.fs').close()  # not locked any more
    found = zeo(storages=file)
    found.addresses = [f'{tmp_path}/missing/s']
    with pytest.raises(ConfigurationError, match='cannot listen on'):
        open_server(found)
    FileStorage(f'{tmp_path}/a.fs').close()


# TLS.


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp('certificate') / 'server.pem'
    trustme.CA().issue_cert('localhost').private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def test_an_ssl_section_makes_the_server_use_tls(certificate):
    found = zeo('<ssl>', f'certificate {certificate}', f'authenticate {certificate}', '</ssl>')
    assert found.options['ssl'].verify_mode.name == 'CERT_REQUIRED'
    assert not found.warnings


def test_tls_for_clients_without_certificate(certificate):
    found = zeo('<ssl>', f'certificate {certificate}', '</ssl>')
    assert found.options['ssl'].verify_mode.name == 'CERT_NONE'
    assert 'clients need no certificate' in found.warnings[0]


@pytest.mark.parametrize(
    'lines, words',
    [
        ([], 'a server needs a certificate'),
        (['certificate {}', 'check-hostname no'], 'check-hostname belongs to'),
        (['certificate {}', 'server-hostname a'], 'server-hostname belongs to'),
        (['certificate ' + __file__], 'no certificate with its private key'),
        (['certificate {}', 'crl {}'], 'add authenticate'),
        (['certificate {}', 'authenticate {}', 'crl {}'], 'no lists of revoked certificates'),
        (['certificate {}', 'password-function os.nonsense'], 'cannot be imported'),
    ],
)
def test_a_wrong_ssl_section_is_refused_with_its_line(certificate, lines, words):
    with pytest.raises(ConfigurationError, match=f'^zeo.conf, line 3: .*{words}'):
        zeo('<ssl>', *(line.format(certificate) for line in lines), '</ssl>')
