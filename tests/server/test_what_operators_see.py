"""The log at INFO and the status of a real server: who comes and goes, what takes long, who waits
for whom.
"""

import logging
import os
import re
import threading
import time

import pytest
import trustme
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ReadOnlyError
from ZODB.utils import z64

from support.scripted import message, oid
from ZEO.ClientStorage import ClientStorage
from ZEO.commands.probing import probe
from ZEO.Exceptions import ClientStorageError
from ZEO.net.tls import client_context, server_context
from ZEO.serving.status import MOST_CLIENTS
from ZEO.StorageServer import StorageServer

PATIENCE = 15


class Log(logging.Handler):
    """The lines of the server's log, from before it starts."""

    def __init__(self):
        super().__init__()
        self._records = []

    def emit(self, record):
        self._records.append((record.levelname, record.getMessage()))

    def lines(self, pattern):
        return [line for _, line in list(self._records) if re.search(pattern, line)]

    def wait(self, pattern, count=1):
        """Return the first so many lines with `pattern`, waiting for them."""
        deadline = time.monotonic() + PATIENCE
        while len(found := self.lines(pattern)) < count:
            assert time.monotonic() < deadline, (pattern, self.lines(''))
            time.sleep(0.01)
        return found

    def level_of(self, pattern):
        return next(level for level, line in list(self._records) if re.search(pattern, line))


@pytest.fixture
def log():
    logger, handler = logging.getLogger('ZEO.StorageServer'), Log()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)


# -- Clients


def test_a_client_that_comes_and_goes(log, service):
    client = ClientStorage(service.server.addr, client_label='app one', wait_timeout=PATIENCE)
    for _ in range(3):
        meta = TransactionMetaData()
        client.tpc_begin(meta)
        client.store(client.new_oid(), z64, b'data', '', meta)
        client.tpc_vote(meta)
        client.tpc_finish(meta)
    with pytest.raises(KeyError):
        client.load(oid(999))
    client.close()
    [line] = log.wait(r'\(app one\): connected')
    assert (
        line
        == 'a Unix socket (app one): connected to storage 1, for reading and writing, protocol Z5'
    )
    [line] = log.wait(r'\(app one\): disconnected')
    assert re.fullmatch(
        r'a Unix socket \(app one\): disconnected from storage 1 after \d\.\d s, '
        r'1 loads and 3 commits: '
        r'the other side has closed',
        line,
    )
    assert log.level_of('app one') == 'INFO'


def test_a_client_that_does_not_say_its_name_is_logged_soon(log, service):
    client = service.client(storage='1')
    assert log.wait(r'a Unix socket: connected to storage 1', 2)  # the good client is another one
    client.close()
    log.wait('a Unix socket: disconnected from storage 1')


def test_a_client_that_leaves_at_once_is_logged_both_ways(log, service):
    log.wait(': connected')  # the good client
    service.client(storage='1').close()
    log.wait('disconnected from storage 1')
    assert len(log.lines(': connected')) == 2


def test_a_read_only_client_of_msgpack(log, tmp_path):
    server = StorageServer(('127.0.0.1', 0), {'main': MappingStorage()}, msgpack=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = ClientStorage(
        server.addr, 'main', read_only=True, client_label='r', wait_timeout=PATIENCE
    )
    [line] = log.wait(r'\(r\): connected')
    assert re.fullmatch(
        r'127\.0\.0\.1:\d+ \(r\): connected to storage main, for reading only, protocol M5', line
    )
    client.close()
    server.stop()
    thread.join()
    server.close()
    log.wait(r'storage main is closed after \d\.\d s')


@pytest.mark.parametrize(
    'certificate, who',
    [(True, r'TLS as O=trustme [^,]+, OU=[^,]*, CN=alice'), (False, 'TLS without a certificate')],
)
def test_a_client_with_tls(log, tmp_path, certificate, who):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / 'ca.pem'))
    for name, issued in (
        ('server', authority.issue_cert('localhost', '127.0.0.1')),
        ('client', authority.issue_cert('alice@example.com', common_name='alice')),
    ):
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / f'{name}.pem'))
    ca = str(tmp_path / 'ca.pem')
    server = StorageServer(
        ('127.0.0.1', 0),
        {'1': MappingStorage()},
        ssl=server_context(str(tmp_path / 'server.pem'), authenticate=ca if certificate else None),
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    context = client_context(str(tmp_path / 'client.pem') if certificate else None, authenticate=ca)
    client = ClientStorage(
        server.addr, ssl=context, ssl_server_hostname='localhost', wait_timeout=PATIENCE
    )
    [line] = log.wait(': connected')
    assert re.search(f', {who}$', line), line
    client.close()
    server.stop()
    thread.join()
    server.close()


def test_refused_clients(log, serve):
    service = serve(MappingStorage())
    with pytest.raises(ClientStorageError):
        ClientStorage(service.server.addr, 'nosuch\nline', wait_timeout=PATIENCE)
    [line] = log.wait('refused')
    assert line == r"a Unix socket: refused: there is no storage 'nosuch\nline'"
    service = serve(MappingStorage(), read_only=True)
    with pytest.raises(ReadOnlyError):
        ClientStorage(service.server.addr, wait_timeout=PATIENCE)
    log.wait('refused: it wants to write to storage 1, which is served read-only')


def test_a_client_that_breaks_the_protocol_is_a_warning(log, service):
    client = service.client(storage='1')
    client.send(message(0, 1, 'nosuch', ()))
    client.ended()
    log.wait('disconnected from storage 1 .*client called unknown method')
    assert log.level_of('disconnected') == 'WARNING'


def test_a_crowd_of_clients_does_not_fill_the_log(log, service):
    for _ in range(700):
        service.client(storage='1').close()
    service.works()
    assert len(log.lines('connected')) < 500


# -- Packs


def test_a_pack_says_by_whom_and_what_it_has_done(log, service):
    service.commit(oid(1), data=b'x' * 5000)
    client = ClientStorage(service.server.addr, client_label='packer', wait_timeout=PATIENCE)
    client.pack(0, wait=True)
    [begun] = log.wait('begins')
    assert re.fullmatch(
        r'a Unix socket \(packer\): pack of storage 1 to 1970-01-01T00:00:00\+00:00 begins, '
        r'its size is 5\.\d KB',
        begun,
    )
    [ended] = log.wait('pack of storage 1 ended')
    assert re.fullmatch(
        r'a Unix socket \(packer\): pack of storage 1 ended after \d\.\d s, '
        r'its size went from 5\.\d KB to 5\.\d KB',
        ended,
    )
    client.close()


@pytest.mark.parametrize('time', [float('nan'), 1e300, 'now', None])
def test_a_pack_to_no_time_fails_for_that_client_alone(log, service, time):
    client = service.client(storage='1')
    client.send(message(7, 0, 'pack', (time, True)))
    answer = client.next()
    assert answer[0] == 7 or answer[2] == 'info'
    service.works()


# -- The commit lock


@pytest.fixture
def waiting(service):
    """A function that has one client hold the commit lock, and others wait for it."""
    clients = []

    def begin(label):
        client = ClientStorage(service.server.addr, client_label=label, wait_timeout=PATIENCE)
        meta = TransactionMetaData()
        client.tpc_begin(meta)
        client.store(client.new_oid(), z64, b'data', '', meta)
        return client, meta

    def vote(client, meta):
        try:
            client.tpc_vote(meta)
            client.tpc_finish(meta)
        finally:
            client.close()

    def start(count):
        holder, meta = begin('the holder')
        holder.tpc_vote(meta)
        for number in range(count):
            thread = threading.Thread(target=vote, args=begin(f'waiter {number}'), daemon=True)
            thread.start()
            clients.append(thread)
            deadline = time.monotonic() + PATIENCE
            while service.hosted.lock.waiting <= number:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        return holder, meta

    yield start
    for thread in clients:
        thread.join(PATIENCE)


def test_many_who_wait_for_the_commit_lock_are_a_warning_once_per_growth(log, service, waiting):
    holder, meta = waiting(9)
    lines = log.wait('wait for the commit lock', 2)
    assert [re.match(r'storage 1: (\d+) transactions wait', line)[1] for line in lines] == [
        '4',
        '8',
    ]
    assert all(
        re.search(r'which a Unix socket \(the holder\) has held for \d+\.\d s$', line)
        for line in lines
    )
    assert log.level_of('wait for the commit lock') == 'WARNING'
    holder.tpc_finish(meta)
    holder.close()
    service.works()


def test_a_client_that_goes_with_the_commit_lock_is_a_warning(log, service, waiting):
    holder, meta = waiting(0)
    holder.close()
    [line] = log.wait(r'\(the holder\): disconnected')
    assert line.endswith('the other side has closed; it held the commit lock')
    assert log.level_of('the holder.: disconnected') == 'WARNING'


# -- The status


def test_a_client_may_know_everything_about_the_service(service, waiting):
    holder, meta = waiting(1)
    status = service.good.server_status()
    assert status['pid'] == os.getpid()
    assert re.match(r'\d', status['version'])
    assert 0 <= status['uptime'] < 600
    assert 10**6 < status['memory'] < 10**11
    assert (
        status['lock-holder']['address'] == 'a Unix socket'
        and status['lock-holder']['label'] == 'the holder'
    )
    moment = r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00'
    assert re.fullmatch(moment, status['lock-holder']['since'])
    assert [client['label'] for client in status['clients']] == ['', 'the holder', 'waiter 0']
    first = status['clients'][0]
    assert re.fullmatch(moment, first.pop('since'))
    assert first.pop('id') > 0
    assert [client['does'] for client in status['clients']] == [
        '',
        'commits',
        'waits for the commit lock',
    ]
    assert first == {
        'does': '',
        'address': 'a Unix socket',
        'label': '',
        'read-only': False,
        'loads': 0,
        'commits': 0,
    }
    holder.tpc_abort(meta)
    holder.close()


def test_a_stranger_gets_figures_and_no_list_of_clients(service):
    strangers = probe(service.server.addr)['1']
    known = service.good.server_status()
    assert set(known) - set(strangers) == {
        'version',
        'pid',
        'uptime',
        'memory',
        'lock-holder',
        'clients',
        'slow',
        'errors',
        'serving-since',
        'packing-since',
    }
    assert set(strangers) <= set(known)


def test_the_list_of_clients_is_bounded(service, monkeypatch):
    monkeypatch.setattr('ZEO.serving.status.MOST_CLIENTS', 5)
    for _ in range(7):
        service.client(storage='1')
    status = service.good.server_status()
    assert len(status['clients']) == 5 and status['connections'] == 8
    assert MOST_CLIENTS == 1000
