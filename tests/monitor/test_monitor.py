"""What a server answers over HTTP, and what it does not let those who ask do to it."""

import contextlib
import logging
import os
import socket
import threading
import time
from dataclasses import replace
from decimal import Decimal

import pytest
import transaction
import ZODB
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_metrics
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.tests.MVCCMappingStorage import MVCCMappingStorage

import ZEO
from support.processes import free_ports, wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ConfigurationError
from ZEO.net.last_lines import LastLines
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.monitor.exposition import OPEN_METRICS
from ZEO.serving.monitor.of_replication import REPLICATION
from ZEO.serving.monitor.of_server import SERVER
from ZEO.serving.monitor.of_storage import STORAGE
from ZEO.StorageServer import Access, Limits

#: Metrics that a server has only at times.
AT_TIMES = {
    'zeo_denied',
    'zeo_pack_progress_ratio',
    'zeo_last_pack_timestamp_seconds',
    'zeo_view_age_seconds',
}


def samples(families):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def metrics(server):
    return samples(open_metrics(server.get('/metrics', f'Accept: {OPEN_METRICS}').text))


def work(client):
    """Load, commit twice, and lose one conflict."""
    database = ZODB.DB(client)
    one, other = (transaction.TransactionManager(explicit=True) for _ in range(2))
    for manager in one, other:
        manager.begin()
    first, second = database.open(one), database.open(other)
    first.root()['x'] = 1
    second.root()['x'] = 2
    one.commit()
    with pytest.raises(ZODB.POSException.ConflictError):
        other.commit()
    other.abort()
    first.close()
    second.close()


# Metrics.


def test_prometheus_reads_all_metrics_in_both_forms(monitored, tmp_path):
    server = monitored(
        {'main': GroupedFileStorage(str(tmp_path / 'Data.fs')), 'odd"\\\n': MappingStorage()}
    )
    work(server.client())
    answer = server.get('/metrics', f'Accept: {OPEN_METRICS}; version=1.0.0')
    assert answer.headers['content-type'] == f'{OPEN_METRICS}; version=1.0.0; charset=utf-8'
    found = {family.name: family for family in open_metrics(answer.text)}
    families = (*SERVER, *STORAGE, *REPLICATION)
    assert list(found) == [family.name for family in families]
    for family in families:
        assert found[family.name].type == family.kind and found[family.name].unit == family.unit
        assert found[family.name].documentation == family.text
        if family.name not in AT_TIMES and family not in REPLICATION:
            assert found[family.name].samples
    names = {sample.labels['storage'] for sample in found['zeo_clients'].samples}
    assert names == {'main', 'odd"\\\n'}

    answer = server.get('/metrics')
    assert answer.headers['content-type'] == 'text/plain; version=0.0.4; charset=utf-8'
    plain = samples(plain_metrics(answer.text))
    assert plain.keys() >= {(family.full_name,) for family in SERVER if family.kind == 'gauge'}
    assert plain['zeo_commits_total', 'main'] == 2


def test_metrics_say_how_late_what_was_committed_elsewhere_is(monitored):
    """A server in front of another one, and of a database that others commit to."""
    upstream = monitored()
    behind = ClientStorage(upstream.server.addr, 'main', wait_timeout=30)
    downstream = monitored({'main': behind, 'view': MVCCMappingStorage()})
    count = 'zeo_foreign_transaction_delay_seconds_count', 'main'
    assert metrics(downstream)[count] == 0
    work(upstream.client())
    wait_until(lambda: metrics(downstream)[count] == 2)
    found = metrics(downstream)
    assert 0 <= found['zeo_foreign_transaction_delay_seconds_sum', 'main'] < 60
    assert ('zeo_view_age_seconds', 'main') not in found
    assert 0 <= found['zeo_view_age_seconds', 'view'] < 60
    assert metrics(upstream)[count] == 0


def test_metrics_count_what_happens(monitored, tmp_path):
    server = monitored({'main': FileStorage(str(tmp_path / 'Data.fs'))})
    client = server.client()
    work(client)
    found = metrics(server)
    # the root object, and what was changed
    expected = {'commits_total': 2, 'stores_total': 2, 'conflicts_total': 1, 'aborts_total': 1}
    expected |= {'clients': 1, 'client_connections_total': 1, 'commit_lock_waiting': 0}
    assert {name: found[f'zeo_{name}', 'main'] for name in expected} == expected
    assert found['zeo_loads_total', 'main'] >= 1
    assert found['zeo_record_cache_misses_total', 'main'] <= found['zeo_loads_total', 'main']
    assert found['zeo_received_bytes_total', 'main'] > 200 < found['zeo_sent_bytes_total', 'main']
    for name in 'wait', 'hold':
        assert found[f'zeo_commit_lock_{name}_seconds_count', 'main'] == 3
        assert 0 < found[f'zeo_commit_lock_{name}_seconds_sum', 'main'] < 30 or name == 'wait'
    assert found['zeo_commit_phase_seconds_count', 'main', 'finish'] == 2
    assert found['zeo_commit_phase_seconds_bucket', 'main', 'vote', '+Inf'] == 2
    sent = found['zeo_sent_bytes_total', 'main']
    client.close()
    wait_until(lambda: metrics(server)['zeo_clients', 'main'] == 0)
    assert metrics(server)['zeo_sent_bytes_total', 'main'] >= sent
    assert metrics(server)['zeo_loads_total', 'main'] == found['zeo_loads_total', 'main']


def test_a_pack_and_log_lines_are_counted(monitored, tmp_path):
    server = monitored({'main': FileStorage(str(tmp_path / 'Data.fs'))})
    client = server.client()
    work(client)
    before = metrics(server)
    assert ('zeo_last_pack_timestamp_seconds', 'main') not in before
    client.pack(wait=True)
    logging.getLogger('ZEO.test').error('on purpose:\n%s', 'secret traceback')
    after = metrics(server)
    assert abs(after['zeo_last_pack_timestamp_seconds', 'main'] - time.time()) < 60
    assert after['zeo_log_messages_total', 'error'] == before['zeo_log_messages_total', 'error'] + 1
    assert server.json('/live.json')['lines'][-1]['text'] == 'on purpose:'


def test_a_metric_that_fails_is_left_out_and_the_others_are_not(monitored, caplog):
    class Failing(MappingStorage):
        def lastTransaction(self):
            if self.fails:
                raise OSError('on purpose')
            return super().lastTransaction()

        fails = False

    storage = Failing()
    server = monitored({'main': storage})
    storage.fails = True
    found = metrics(server)
    assert ('zeo_last_transaction_timestamp_seconds', 'main') not in found
    assert found['zeo_storage_up', 'main'] == 1
    storage.fails = False


def test_a_size_that_is_not_a_number_is_left_out(monitored):
    class Odd(MappingStorage):
        def getSize(self):
            return Decimal(5)

    found = metrics(monitored({'main': Odd()}))  # which the parser reads
    assert ('zeo_storage_size_bytes', 'main') not in found
    assert found['zeo_storage_objects', 'main'] == 0


def test_the_last_lines_are_a_copy_since_threads_add_to_them():
    lines = LastLines()
    record = logging.makeLogRecord({'msg': 'one', 'levelno': logging.ERROR})
    lines.take(record)
    for line in lines.last():
        assert line.text == 'one'
        lines.take(record)  # as another thread may
    assert len(lines.last()) == 2


# Health.


def test_health_and_readiness(monitored):
    server = monitored()
    for path, text in ('/healthz', 'ok\n'), ('/readyz', 'ready\n'):
        answer = server.get(path)
        assert (answer.status, answer.text) == (200, text)
    backend = server.server.hosted['main'].backend
    backend.__class__ = type('Away', (type(backend),), {'trouble': 'no answer: a\udcff'})
    answer = server.get('/readyz')
    assert answer.status == 503
    assert answer.text.startswith('not ready\nstorage main: its database')
    assert server.get('/healthz').status == 200
    assert metrics(server)['zeo_storage_up', 'main'] == 0 == metrics(server)['zeo_ready',]


def test_a_server_that_has_lost_its_own_is_not_ready(monitored):
    behind = monitored()
    server = monitored({'main': behind.client()})
    assert server.get('/readyz').status == 200
    behind.close()
    wait_until(lambda: server.get('/readyz').status == 503)
    assert 'its own server, is away' in server.get('/readyz').text


def test_a_server_that_stops_is_not_ready(monitored):
    server = monitored()
    connection = server.connect()
    assert connection.get('/readyz').status == 200
    server.server.is_stopping = True
    assert 'the server is stopping' in connection.get('/readyz').text


def test_a_primary_and_its_follower_say_how_far_it_is(monitored, tmp_path):
    primary = monitored({'main': FileStorage(str(tmp_path / 'Data.fs'))})
    work(primary.client())
    replica = ZEO.Replica(primary.server.addr, str(tmp_path / 'copy.fs'), storage='main')
    follower = monitored({'main': replica})
    wait_until(lambda: follower.get('/readyz').status == 200)
    found = metrics(follower)
    assert found['zeo_replica_following', 'main'] == 1
    assert found['zeo_replica_lag_transactions', 'main'] == 0
    assert found['zeo_replica_copied_transactions_total', 'main'] == 2
    wait_until(lambda: metrics(primary).get(('zeo_follower_lag_transactions', 'main')) == 0)
    assert metrics(primary)['zeo_followers', 'main'] == 1
    late = 'zeo_foreign_transaction_delay_seconds_{}', 'main'
    count, total = (late[0].format(what) for what in ('count', 'sum'))
    before = metrics(follower)
    work(primary.client())
    wait_until(lambda: metrics(follower)[count, 'main'] == before[count, 'main'] + 1)
    assert 0 <= metrics(follower)[total, 'main'] - before[total, 'main'] < 60
    shown = follower.json('/live.json')['storages'][0]
    assert shown['replica']['state'] == 'following'
    assert primary.json('/live.json')['storages'][0]['followers'][0]['lag-transactions'] == 0
    primary.close()
    wait_until(lambda: follower.get('/readyz').status == 503)
    assert 'the follower is disconnected' in follower.get('/readyz').text


# The form of answers.


def test_several_requests_on_one_connection(monitored):
    connection = monitored().connect()
    assert connection.get('/healthz').headers['connection'] == 'keep-alive'
    head = connection.get('/metrics', method='HEAD')
    assert head.status == 200 and int(head.headers['content-length']) > 1000
    assert connection.get('/nothing').status == 404
    answer = connection.get('/', method='DELETE')
    assert answer.status == 405 and answer.headers['allow'] == 'GET, HEAD'
    assert connection.get('/healthz', 'Connection: close').headers['connection'] == 'close'
    assert connection.answer() is None


def test_pipelined_requests_are_answered_in_order(monitored):
    connection = monitored().connect()
    paths = ['/healthz', '/metrics', '/readyz', '/live.json', '/nothing'] * 4
    data = ''.join(f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n' for path in paths)
    connection.send(data.encode())
    assert [connection.answer().status for _ in paths] == [200, 200, 200, 200, 404] * 4


def test_a_bad_request_is_answered_after_those_before_it(monitored):
    connection = monitored().connect()
    connection.send(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n')
    assert [connection.answer().status for _ in range(2)] == [200, 400]
    assert connection.answer() is None


def test_every_answer_says_what_a_browser_may_do_with_it(monitored):
    server = monitored()
    for path in '/', '/metrics', '/live.json', '/nothing':
        headers = server.get(path).headers
        assert headers['cache-control'] == 'no-store'
        assert headers['x-content-type-options'] == 'nosniff'
        assert "default-src 'none'" in headers['content-security-policy']
        assert 'unsafe' not in headers['content-security-policy']
        assert "frame-ancestors 'none'" in headers['content-security-policy']
        assert 'access-control-allow-origin' not in headers


# Who may ask.


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        ('localhost:8090', 200),
        ('127.0.0.1:1', 200),
        ('[::1]:1', 200),
        ('x.localhost', 200),
        ('evil.example', 403),
        ('127.0.0.1.evil.example', 403),
        ('localhost.evil.example', 403),
        ('192.0.2.1', 403),
        ('[::2]', 403),
        ('[', 200),  # no browser sends that
    ],
)
def test_a_page_from_elsewhere_cannot_ask_on_the_loopback(monitored, host, status):
    assert monitored().get('/live.json', f'Host: {host}').status == status


def test_a_unix_socket_answers_to_any_name(monitored, tmp_path):
    server = monitored(monitor=[('127.0.0.1', 0), f'{tmp_path}/m'])
    assert server.get('/healthz', 'Host: monitor.example', place=1).status == 200


def test_who_clients_are_is_shown_as_the_status_call_shows_it(monitored, tmp_path):
    rules = [f'unix-user {os.getuid()} admin', 'anyone nothing']
    server = monitored(
        address=f'{tmp_path}/s',
        monitor=[('127.0.0.1', 0), f'{tmp_path}/m'],
        access=Access.of(rules),
    )
    server.client(client_label='mine')
    shown = server.json('/live.json', place=1)
    assert shown['lines'] is not None
    (client,) = shown['storages'][0]['clients']
    assert client['label'] == 'mine' and client['who'] == f'Unix user {os.getuid()}'
    hidden = server.json('/live.json')
    assert hidden['lines'] is None
    assert hidden['storages'][0]['clients'] is None
    assert 'lock-holder' not in hidden['storages'][0] and 'slow' not in hidden['storages'][0]
    assert 'clients' not in server.json('/status.json')['main']
    assert server.json('/status.json', place=1)['main']['clients'][0]['who']
    assert metrics(server)['zeo_clients', 'main'] == 1  # figures are for all who reach the address


def test_the_status_is_that_of_the_status_call(monitored):
    server = monitored()
    client = server.client(client_label='a <b> & "c"')
    wait_until(lambda: client.server_status()['clients'][0]['label'])
    shown, told = server.json('/status.json')['main'], client.server_status()
    assert shown.keys() == told.keys()
    assert shown['clients'] == told['clients'] and shown['clients'][0]['label'] == 'a <b> & "c"'


@pytest.mark.parametrize('right', ['read', 'admin'])
def test_the_log_is_shown_to_who_administers_every_storage(monitored, right):
    storages = {'a': MappingStorage(), 'b': MappingStorage()}
    rules = Access.of({'a': ['anyone admin'], 'b': [f'anyone {right}']})
    server = monitored(storages, access=rules)
    logging.getLogger('ZEO.test').error('on purpose')
    lines = [
        server.json('/status.json')['a']['errors'],
        server.client('a').server_status()['errors'],
    ]
    shown = [server.json('/live.json')['lines'] or [], *lines]
    found = [any(line['text'] == 'on purpose' for line in one) for one in shown]
    assert found == [right == 'admin'] * 3


def test_what_clients_do_is_shown(monitored):
    server = monitored()
    holder, waiter = (server.client(client_label=name) for name in ('holder', 'waiter'))
    one, other = transaction.Transaction(), transaction.Transaction()
    holder.tpc_begin(one)
    holder.tpc_vote(one)
    waiter.tpc_begin(other)
    thread = threading.Thread(target=waiter.tpc_vote, args=(other,), daemon=True)
    thread.start()
    hosted = server.server.hosted['main']
    wait_until(lambda: server.call(lambda: hosted.lock.waiting) == 1)
    shown = server.json('/live.json')['storages'][0]
    assert shown['lock-holder']['label'] == 'holder'
    assert [text.endswith('(waiter)') for text in shown['lock-waiting']] == [True]
    doing = {one['label']: one.get('doing') for one in shown['clients']}
    assert doing == {
        'holder': 'has the commit lock: ready to finish',
        'waiter': 'waits for the commit lock',
    }
    assert metrics(server)['zeo_commit_lock_waiting', 'main'] == 1
    holder.tpc_abort(one)
    thread.join(30)
    waiter.tpc_abort(other)


# Bounds.


def test_one_connection_too_many_closes_the_one_that_was_idle_longest(monitored):
    server = monitored(limits=Limits(monitor_connections=3))
    first, second, third = (server.connect() for _ in range(3))
    for connection in first, second, third, first:
        assert connection.get('/healthz').status == 200
    fourth = server.connect()
    assert fourth.get('/healthz').status == 200
    assert second.answer() is None
    assert first.get('/healthz').status == 200


def test_its_limits_are_those_that_were_read_last(monitored):
    patient = Limits(monitor_time=300)
    server = monitored(limits=patient)
    first = server.connect()
    assert first.get('/healthz').status == 200
    fewer = replace(patient, monitor_connections=1)
    server.call(lambda: server.server.use_limits(fewer) or True)
    assert server.connect().get('/healthz').status == 200
    assert first.answer() is None


@pytest.mark.parametrize('data', [b'', b'GET / HTTP/1.1\r\nHost: loc'])
def test_a_connection_without_a_request_ends(monitored, data):
    connection = monitored(limits=Limits(monitor_time=0.2)).connect()
    with contextlib.suppress(OSError):  # it has ended already
        connection.send(data)
    assert connection.answer() is None


def test_a_client_that_does_not_read_is_closed_and_takes_little_memory(monitored):
    server = monitored(limits=Limits(monitor_time=0.3, monitor_share=1.0))
    connection = server.connect()
    connection.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.stream.settimeout(30)
    request = b'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'
    with pytest.raises(OSError):  # it is not read from, and closed then
        while True:
            connection.send(request * 100)
    server.call(lambda: server.server.use_limits(Limits()) or True)
    assert server.get('/healthz').status == 200


def test_clients_are_served_while_others_ask_for_all_they_can(monitored):
    server = monitored()
    client = server.client()
    asking = [server.connect() for _ in range(10)]
    for connection in asking:
        connection.send(b'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' * 5)
    for _ in range(20):
        client.ping()
    connection = server.connect()  # it has its turn, too
    assert connection.get('/healthz').status == 200


def test_a_probe_is_answered_while_strangers_ask_without_end_and_read_nothing(monitored):
    server = monitored()
    for _ in range(50):
        stream = server.connect().stream
        stream.setblocking(False)
        with contextlib.suppress(OSError):  # its buffers are full
            while True:
                stream.send(b'GET /live.json HTTP/1.1\r\nHost: localhost\r\n\r\n' * 100)
    for _ in range(5):
        assert server.get('/healthz').status == 200


def test_all_of_many_storages_are_shown(monitored):
    storages = {f'storage {number}': MappingStorage() for number in range(30)}
    server = monitored(storages)
    assert len(server.json('/status.json')) == 30
    assert len(server.json('/live.json')['storages']) == 30
    assert len([key for key in metrics(server) if key[0] == 'zeo_clients']) == 30


# Where it listens.


def test_an_address_that_is_taken_does_not_keep_the_server_from_serving(monitored, caplog):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        server = monitored(monitor=taken.getsockname())
        assert server.server.monitor_addresses == []
        assert 'the server serves without it: give it another address' in caplog.text
        server.client().ping()


def test_without_the_key_nothing_listens(monitored):
    server = monitored(monitor=None)
    assert server.server.monitor_addresses == []


def test_an_address_that_others_reach_is_warned_about(monitored, caplog):
    monitored(monitor=('0.0.0.0', 0))
    assert 'everyone who can reach this address over the network may see' in caplog.text


def test_a_bare_port_in_a_configuration_is_for_this_machine_only(tmp_path):
    (port,) = free_ports(1)
    address, stop = ZEO.server(zeo_conf={'monitor-address': port}, threaded=True)
    try:
        with socket.create_connection(('127.0.0.1', port)) as stream:
            stream.sendall(b'GET /healthz HTTP/1.0\r\n\r\n')
            assert stream.makefile('rb').read().endswith(b'\r\n\r\nok\n')
    finally:
        stop()


def test_one_port_cannot_be_for_both():
    conf = '<zeo>\naddress 127.0.0.1:8100\nmonitor-address 8100\n</zeo>'
    with pytest.raises(ConfigurationError, match='give monitor-address a port of its own'):
        ZEO.server(zeo_conf=conf, threaded=True)
