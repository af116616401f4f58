"""zeopack: which storages, up to when, and real packs."""

from __future__ import annotations

import re
import threading
import time
from datetime import datetime, timedelta

import pytest
import transaction
from ZODB.blob import Blob

import ZEO
from ZEO.commands import zeo
from ZEO.commands.zeopack import main, pack_time, parser, targets
from ZEO.data import patience
from ZEO.Exceptions import ConfigurationError


def wanted(*args):
    return [(target.addresses, target.storage) for target in targets(parser().parse_args(args))]


def test_servers_are_named_by_host_port_and_storage():
    assert wanted('localhost:8100', 'db:8200:two', '[::1]:8300', '[::1]:8300:three') == [
        ((('localhost', 8100),), '1'),
        ((('db', 8200),), 'two'),
        ((('::1', 8300),), '1'),
        ((('::1', 8300),), 'three'),
    ]
    here = (('127.0.0.1', 8100),)
    assert wanted('8100', ':8100', ':8100:two') == [(here, '1'), (here, '1'), (here, 'two')]


def test_unix_sockets_are_named_by_path_and_storage():
    both = [(('/run/s',), '1'), (('/run/t',), 'two')]
    assert wanted('-u', '/run/s', '--unix', '/run/t:two') == both
    assert wanted('/run/s', '/run/t:two') == both
    assert wanted('./s') == [(('./s',), '1')]


def test_old_forms_name_one_server():
    assert wanted('-h', 'db', '-p', '8100', '-S', 'two') == [((('db', 8100),), 'two')]
    assert wanted('-U', '/run/s', '-S', 'two') == [(('/run/s',), 'two')]
    [(addresses, storage)] = wanted('-p', '8100')
    assert addresses[-1] == ('localhost', 8100) and storage == '1'
    assert len(wanted('-p', '8100', '-U', '/run/s', 'db:8200', '-u', '/run/t')) == 4


@pytest.mark.parametrize(
    'args',
    [
        [],
        ['localhost'],
        [':'],
        [':http'],
        ['99999'],
        ['db:http'],
        ['[::1]'],
        ['-h', 'db'],
        ['-p', 'http'],
        ['-S', 'two'],
        ['db:99999'],
    ],
)
def test_what_names_no_server_is_refused(args):
    with pytest.raises(ConfigurationError):
        wanted(*args)


def test_the_time_to_pack_to_is_that_of_today_minus_days():
    now = datetime(2026, 11, 23, 13, 4, 45, 250000)
    today = datetime(2026, 11, 23)
    for clock, days, at in [
        (None, 0, now),
        (None, 2, now - timedelta(days=2)),
        (None, 0.5, now - timedelta(hours=12)),
        ('12', 0, today.replace(hour=12)),
        ('12:30', 0, today.replace(hour=12, minute=30)),
        ('23:59:10', 2, datetime(2026, 11, 21, 23, 59, 10)),
    ]:
        assert pack_time(clock, days, now.timestamp()) == at.timestamp()


@pytest.mark.parametrize('clock', ['', 'noon', '25', '12:60', '1:2:3:4', '2026-01-01'])
def test_what_is_not_a_time_is_refused(clock):
    with pytest.raises(ConfigurationError, match='give a time of the day'):
        pack_time(clock, 0, 0.0)


# With real servers.


@pytest.fixture
def served(tmp_path):
    """Serve two storages with blobs; return the address."""
    address, stop = ZEO.server(
        storage_conf='\n'.join(
            f'<filestorage {name}>\npath {tmp_path}/{name}.fs\nblob-dir {tmp_path}/{name}.blobs\n'
            '</filestorage>'
            for name in ('1', 'two')
        )
    )
    yield address
    stop()


def write(address, folder, storage='1'):
    """Write the same object over and over, with a blob at the end."""
    connection = ZEO.connection(address, storage, blob_dir=str(folder / f'cache-{storage}'))
    for value in range(5):
        connection.root()['x'] = str(value) * 1000
        transaction.commit()
    connection.root()['blob'] = Blob(b'some data')
    transaction.commit()
    connection.close()


def revisions(address, storage='1'):
    client = ZEO.client(address, storage, read_only=True)
    count = len(client.history(b'\0' * 8, 100))
    client.close()
    return count


def test_storages_are_packed_and_blobs_stay(served, tmp_path, capsys):
    for storage in '1', 'two':
        write(served, tmp_path, storage)
    server = '{}:{}'.format(*served)
    assert main([server]) == 0
    out, err = capsys.readouterr()
    moment = r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00'
    assert err == '' and re.fullmatch(
        rf'storage 1 of {server}: packed to {moment} in \d\.\d s, from \d+\.\d KB to \d+\.\d KB\n',
        out,
    ), out
    assert revisions(served) == 1 and revisions(served, 'two') > 1
    assert main(['-d', '1', f'{server}:two']) == 0
    assert revisions(served, 'two') > 1
    capsys.readouterr()
    assert main([f'{server}:two', '-d', '0', '--quiet']) == 0
    assert capsys.readouterr() == ('', '')
    assert revisions(served, 'two') == 1
    connection = ZEO.connection(served, blob_dir=str(tmp_path / 'other-cache'))
    with connection.root()['blob'].open() as file:
        assert file.read() == b'some data'
    connection.close()


def test_a_read_only_server_is_packed(tmp_path, capsys):
    path = str(tmp_path / 's')
    address, stop = ZEO.server(str(tmp_path / 'a.fs'))
    connection = ZEO.connection(address)
    for value in range(5):
        connection.root()['x'] = value
        transaction.commit()
    connection.close()
    stop()
    address, stop = ZEO.server(str(tmp_path / 'a.fs'), port=path, zeo_conf={'read_only': True})
    try:
        assert main(['-U', path]) == 0, capsys.readouterr()
        assert revisions(path) == 1
    finally:
        stop()


def test_one_failure_does_not_keep_others_from_being_packed(served, tmp_path, capsys):
    write(served, tmp_path)
    server = '{}:{}'.format(*served)
    assert main([f'{server}:missing', server]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f'zeopack: storage missing of {server}: ') and err.count('\n') == 1
    assert revisions(served) == 1


def test_the_reason_is_printed_when_no_server_is_there(tmp_path, monkeypatch, capsys):
    path = str(tmp_path / 'nobody')
    assert main(['-u', path, '--timeout', '0.1']) == 1
    assert capsys.readouterr().err == (
        f'zeopack: storage 1 of {path}: no connection within 0.1 s: '
        f'{path}: No such file or directory\n'
    )
    monkeypatch.setattr(patience, 'PATIENCE', 0.05)
    assert main(['-u', path, '--timeout', '0.2']) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        f'zeopack: storage 1 of {path}: no connection yet, waiting for up to 0.2 s: '
        f'{path}: No such file or directory'
    )
    assert second == (
        f'zeopack: storage 1 of {path}: no connection within 0.2 s: '
        f'{path}: No such file or directory'
    )


def test_as_a_command_of_zeo_all_its_lines_begin_with_that_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(patience, 'PATIENCE', 0.05)
    assert zeo.main(['pack', '-u', str(tmp_path / 'nobody'), '--timeout', '0.2']) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith('zeo pack: storage 1 of') for line in lines)


def test_a_server_that_comes_late(tmp_path, monkeypatch, capsys):
    path = str(tmp_path / 's')
    monkeypatch.setattr(patience, 'PATIENCE', 0.05)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(main(['-u', path])), daemon=True)
    thread.start()
    wait_until = time.monotonic() + 30
    while 'waiting for up to 30 s' not in capsys.readouterr().err:
        assert time.monotonic() < wait_until
        time.sleep(0.01)
    _, stop = ZEO.server(str(tmp_path / 'a.fs'), port=path)
    try:
        thread.join(30)
        assert ended == [0]
    finally:
        stop()


@pytest.mark.parametrize('days', ['-1', '-0.5', 'nan', 'inf', '1e9', 'x'])
def test_what_is_not_a_number_of_days_is_refused(days, capsys):
    assert main(['localhost:1', f'--days={days}']) == 2
    assert f'{days!r} is not a number of days' in capsys.readouterr().err


def test_a_wrong_command_line_is_one_line(capsys):
    for args in (
        ['nowhere'],
        ['--nonsense'],
        ['a:1', '-t', 'x'],
        ['-h', 'a'],
        ['--tls'],
        ['a:1', '--timeout', '0'],
        ['a:1', '-t', '24:00'],
    ):
        assert main(args) == 2
        assert capsys.readouterr().err.startswith('zeopack: ')


def test_without_arguments_it_explains_itself(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(['--help'])
    assert capsys.readouterr().out == out and '--days' in out
