"""zeo ping, clients, kick and top: what a server says of itself and its clients."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64, z64

from ZEO.commands import zeo
from ZEO.commands.zeo_top import Look, lines
from ZEO.Exceptions import ClientDisconnected
from ZEO.serving.access.access import Access


@pytest.fixture
def served(serving, tmp_path):
    """A server of a FileStorage, and its address as text."""
    return str(serving(FileStorage(str(tmp_path / 'a.fs'))).addr)


def test_ping_has_the_exit_statuses_of_pg_isready(served, capsys, sockets):
    assert zeo.main(['ping', served]) == 0
    assert capsys.readouterr().out == f'{served}: accepts clients\n'
    assert zeo.main(['ping', served, '--storage', 'other']) == 1
    assert 'there is no storage' in capsys.readouterr().out
    assert zeo.main(['ping', sockets(), '-q']) == 2
    assert capsys.readouterr().out == ''
    assert zeo.main(['ping', 'no:such:address']) == zeo.main(['ping']) == 3
    assert capsys.readouterr().err.count('\n') == 2


def test_ping_tells_what_is_not_a_server_from_silence(capsys):
    with socket.create_server(('127.0.0.1', 0)) as listening:
        where = f'127.0.0.1:{listening.getsockname()[1]}'
        assert zeo.main(['ping', where, '--timeout', '0.2']) == 2  # it accepts, and says nothing

        def answer():
            connection = listening.accept()[0]
            connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')
            connection.close()

        listening.accept()[0].close()
        threading.Thread(target=answer, daemon=True).start()
        assert zeo.main(['ping', where]) == 1


def test_ping_waits_for_a_server(serving, sockets, capsys):
    address = sockets()
    assert zeo.main(['ping', address, '--wait', '0.3']) == 2
    timer = threading.Timer(0.3, lambda: serving(MappingStorage(), address))
    timer.start()
    assert zeo.main(['ping', address, '--wait', '30']) == 0
    timer.join()


def test_ping_says_when_the_database_is_away(serving, capsys, tmp_path):
    class Away(MappingStorage):
        away = False

        def lastTransaction(self):
            if self.away:
                raise OSError('the disk is gone')
            return super().lastTransaction()

    server = serving(Away())
    Away.away = True
    assert zeo.main(['ping', str(server.addr)]) == 1
    assert 'the disk is gone' in capsys.readouterr().out


def test_clients_are_listed_with_what_they_do(served, clients, capsys):
    one = clients(served, client_label='one')
    two = clients(served, client_label='two', read_only=True)
    one.ping()
    two.ping()
    meta = TransactionMetaData()
    one.tpc_begin(meta)
    one.store(p64(1), z64, b'data', '', meta)
    one.tpc_vote(meta)
    assert zeo.main(['clients', served]) == 0
    head, columns, first, second = capsys.readouterr().out.splitlines()
    assert head == 'storage 1: 2 clients' and columns.split()[:3] == ['ID', 'ADDRESS', 'LABEL']
    assert ' one ' in first and first.endswith('commits')
    assert ' two ' in second and second.endswith('reads only')
    one.tpc_finish(meta)
    assert zeo.main(['clients', served, '--json']) == 0
    entries = json.loads(capsys.readouterr().out)['1']
    assert [(entry['label'], entry['commits'], entry['does']) for entry in entries] == [
        ('one', 1, ''),
        ('two', 0, ''),
    ]


def came_back(client, old):
    """Whether a client gets another connection in place of the old one, which it has to notice."""
    for _ in range(1000):
        try:
            client.ping()
        except ClientDisconnected:
            continue
        if client._server.connection is not old:
            return True
    return False


def test_a_client_is_kicked_by_number_or_label_and_comes_back(served, clients, capsys):
    one, two = clients(served, client_label='one'), clients(served, client_label='two')
    one.ping()
    two.ping()
    before = one._server.connection, two._server.connection
    assert zeo.main(['kick', served, 'one']) == 0
    assert 'a client of storage 1' in capsys.readouterr().out
    assert zeo.main(['clients', served, '--json']) == 0
    entries = json.loads(capsys.readouterr().out)['1']
    (number,) = [entry['id'] for entry in entries if entry['label'] == 'two']
    assert two._server.connection is before[1]
    assert zeo.main(['kick', served, str(number)]) == 0
    for client, old in zip((one, two), before, strict=True):
        assert came_back(client, old)
    capsys.readouterr()
    assert zeo.main(['kick', served, 'nobody', '9' * 5000]) == 1
    assert capsys.readouterr().err.startswith('zeo kick: there is no client nobody')


def test_kick_needs_the_right_of_an_administrator(serving, sockets, clients, capsys):
    served = str(serving(MappingStorage(), access=Access.of(['anyone read'])).addr)
    client = clients(served, client_label='one', read_only=True)
    client.ping()
    before = client._server.connection
    assert zeo.main(['kick', served, 'one', '-S', '1']) == 2
    assert 'needs the right admin' in capsys.readouterr().err
    client.ping()
    assert client._server.connection is before


def test_top_prints_lines_where_there_is_no_terminal(served, clients, capsys):
    clients(served, client_label='one').ping()
    assert zeo.main(['top', served, '-n', '-1']) == 2
    assert zeo.main(['top', served, '--every', '0.1', '-n', '2']) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and all('storage 1: 1 clients, 0 loads/s' in one for one in printed)


def test_what_does_not_answer_ends_each_with_one_line(sockets, capsys):
    address = sockets()
    for args in ['clients', address], ['kick', address, 'one'], ['top', address]:
        assert zeo.main(args) == 2
        said = capsys.readouterr().err
        assert said.startswith(f'zeo {args[0]}: {address}: ') and said.count('\n') == 1


def entry(number, loads):
    return {
        'id': number,
        'address': f'10.0.0.{number}:1',
        'label': '',
        'loads': loads,
        'commits': 0,
    }


def test_top_shows_rates_the_lock_a_pack_and_the_busiest_clients():
    holder = {'address': 'a:1', 'label': 'app', 'since': '12:00'}
    before = Look({'1': {'loads': 100, 'clients': [entry(1, 10), entry(2, 10)]}}, 10.0)
    figures = {
        'loads': 300,
        'waiting': 3,
        'lock-holder': holder,
        'packing-since': '11:00',
        'pack-progress': 0.5,
        'clients': [entry(1, 10), entry(2, 210)],
    }
    shown = lines('here', Look({'1': figures}, 12.0), before)
    assert 'storage 1: 2 clients, 100 loads/s' in shown[2] and shown[2].endswith('3 waiting')
    assert shown[3:5] == [
        '  commit lock: a:1 (app) since 12:00',
        '  packing since 11:00, 50 % done',
    ]
    assert [line.split()[:2] for line in shown[5:]] == [
        ['100/s', '10.0.0.2:1'],
        ['0/s', '10.0.0.1:1'],
    ]


def test_figures_of_nonsense_are_shown_without_an_error():
    look = Look(
        {'1': {'loads': 'many', 'clients': [1, {}], 'lock-holder': 3, 'waiting': None}}, 1.0
    )
    assert lines('here', look, look)
