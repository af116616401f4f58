"""What takes long has a line that says where the time went, and is kept for the status."""

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.tests.MinPO import MinPO
from ZODB.tests.StorageTestBase import zodb_pickle
from ZODB.utils import p64, z64

from support.processes import wait_until
from ZEO.net.last_lines import LastLines
from ZEO.serving.access.access import Access
from ZEO.serving.commit.times import Times
from ZEO.serving.slow import KEPT, SlowLog, SlowTimes

#: Seconds from which something is slow here.
SLOW = 0.05

#: A record without references.
RECORD = zodb_pickle(MinPO(0))


class Slow(MappingStorage):
    """A storage that takes its time for some calls."""

    def history(self, oid, size=1):
        time.sleep(2 * SLOW)
        return super().history(oid, size)

    def pack(self, *args):
        time.sleep(2 * SLOW)
        super().pack(*args)


@pytest.fixture
def served(serving, clients):
    """A function that serves such a storage; returns it with a client."""

    def serve(**times):
        server = serving(Slow(), slow=SlowTimes(**times))
        return server, clients(server.addr, client_label='app')

    return serve


def voted(client, oid):
    meta = TransactionMetaData()
    client.tpc_begin(meta)
    client.store(oid, z64, RECORD, '', meta)
    client.tpc_vote(meta)
    return meta


def test_a_commit_that_waits_for_its_client_and_one_that_waits_for_the_lock(
    served, clients, caplog
):
    server, client = served(commit=SLOW, load=0, pack=0)
    other = clients(server.addr, client_label='other')
    meta = voted(client, p64(1))
    thread = threading.Thread(target=lambda: other.tpc_finish(voted(other, p64(2))))
    thread.start()
    wait_until(lambda: server.hosted['1'].lock.waiting)
    time.sleep(2 * SLOW)
    client.tpc_finish(meta)
    thread.join(20)
    waited, held = client.server_status()['slow']
    assert held['kind'] == waited['kind'] == 'commit'
    assert max(held['parts'], key=held['parts'].get) == 'client'
    assert max(waited['parts'], key=waited['parts'].get) == 'queue'
    assert '(app)' in held['client'] and '(other)' in waited['client']
    lines = [line for line in caplog.messages if 'slow commit' in line]
    assert len(lines) == 2 and all('committed after' in line for line in lines)


def test_a_call_in_another_thread_and_a_pack(served, caplog):
    _, client = served(commit=0, load=SLOW, pack=SLOW)
    client.tpc_finish(voted(client, z64))  # the root, which a pack begins with
    client.history(z64)
    client.pack()
    packed, loaded = client.server_status()['slow']
    assert (packed['kind'], loaded['kind']) == ('pack', 'load')
    assert loaded['what'] == 'history' and set(loaded['parts']) == {'queue', 'storage'}
    assert any('slow history of storage 1, answered after' in line for line in caplog.messages)


def test_nothing_is_slow_where_that_is_off(served, caplog):
    _, client = served(commit=0, load=0, pack=0)
    meta = voted(client, z64)
    time.sleep(2 * SLOW)
    client.tpc_finish(meta)
    client.history(z64)
    client.pack()
    assert client.server_status()['slow'] == []
    assert not any('slow' in line for line in caplog.messages)


def test_the_last_ones_are_kept():
    slow = SlowLog('1', SlowTimes(pack=1), lambda: 0.0)
    for seconds in range(2 * KEPT):
        slow.pack('client', float(seconds))
    entries = slow.entries()
    assert len(entries) == KEPT and entries[0]['seconds'] == 2 * KEPT - 1


def test_the_parts_of_a_transaction_that_was_given_up():
    times = Times(1.0)
    times.asked, times.granted = 2.0, 4.0
    assert times.parts(8.0) == {'network': 1.0, 'queue': 2.0, 'vote': 4.0}


def test_the_last_errors_are_in_the_status(served):
    server, client = served(commit=0)
    reports = server.hosted['1'].loop.reports
    server.post(lambda: reports.failed('reading failed', '1', ValueError('a fault')))
    wait_until(lambda: client.server_status()['errors'])
    (error,) = client.server_status()['errors']
    assert error['level'] == 'ERROR' and error['text'] == '1: reading failed: ValueError: a fault'


def test_who_may_only_read_does_not_learn_what_others_do(serving, clients):
    server = serving(Slow(), access=Access.of(['anyone read']))
    status = clients(server.addr, read_only=True).server_status()
    assert status['errors'] == status['slow'] == []


# The log.


def test_the_status_has_what_any_part_has_logged_in_any_thread(served):
    _, client = served(commit=0)
    thread = threading.Thread(target=logging.getLogger('ZEO.x').warning, args=('of a thread',))
    thread.start()
    thread.join()
    (line,) = client.server_status()['errors']
    assert (line['level'], line['text']) == ('WARNING', 'of a thread')


def test_a_server_that_is_gone_without_its_end_is_sent_no_more_lines():
    lines = LastLines()
    lines.open()
    known = weakref.ref(lines)
    del lines
    gc.collect()
    assert known() is None


def test_a_program_without_logging_sees_warnings_as_without_a_server():
    told = (
        'import logging, ZEO; _, stop = ZEO.server(threaded=True); '
        'logging.getLogger("ZEO.x").warning("shown"); '
        'logging.getLogger("ZEO").addHandler(logging.NullHandler()); '
        'logging.getLogger("ZEO.x").warning("hidden"); stop()'
    )
    found = subprocess.run([sys.executable, '-c', told], capture_output=True, text=True, timeout=60)
    assert 'shown' in found.stderr and 'hidden' not in found.stderr
