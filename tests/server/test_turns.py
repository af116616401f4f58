"""One client's many messages give way to the others, and wait while it does not read the
answers.
"""

import threading
import time

import pytest
from ZODB.utils import maxtid, p64, z64

from support.inside import channel_of, unsent
from support.scripted import message
from ZEO.StorageServer import Limits

OID = p64(10**6)
SIZE = 100_000
BOUND = 1_000_000


def status_that_takes(service, monkeypatch, seconds):
    """Have the server take some time for each status; return the list of those that it has made."""
    made, status = [], service.hosted.status

    def slow():
        time.sleep(seconds)
        made.append(1)
        return status()

    monkeypatch.setattr(service.hosted, 'status', slow)
    return made


def is_closed(iterator):
    return iterator._file is None


def test_answers_that_are_not_read_are_bounded_whatever_was_asked_for_at_once(serve):
    service = serve(limits=Limits(output_buffer=BOUND))
    others = set(service.hosted.peers)
    client = service.client(receive_buffer=4096)
    client.commit(1, (OID, z64, b'd' * SIZE))
    (channel,) = (channel_of(peer) for peer in set(service.hosted.peers) - others)
    # one read of the server's
    client.send(*[message(number, False, 'loadBefore', (OID, maxtid)) for number in range(2000)])
    for _ in range(20):
        service.good.ping()
        assert unsent(channel) <= BOUND + 2 * SIZE
    assert service.hosted.status()['loads'] < 100
    for number in range(2000):
        message_id, flags, name, args = client.next()
        while name != '.reply':
            message_id, flags, name, args = client.next()
        assert (message_id, len(args[0])) == (number, SIZE)


def test_answers_that_many_clients_do_not_read_are_bounded_together(serve):
    """Each leaves less than one may; each gets all of it once it reads."""
    service = serve(limits=Limits(output_buffer=100 * BOUND, shared_output=BOUND))
    others = set(service.hosted.peers)
    clients = [service.client(receive_buffer=4096) for _ in range(8)]
    channels = [channel_of(peer) for peer in set(service.hosted.peers) - others]
    clients[0].commit(1, (OID, z64, b'd' * SIZE))
    for client in clients:
        client.send(*[message(number, False, 'loadBefore', (OID, maxtid)) for number in range(60)])
    for _ in range(20):
        service.good.ping()
        assert sum(unsent(channel) for channel in channels) <= BOUND + 8 * 2 * SIZE
    for client in clients:
        for number in range(60):
            message_id, flags, name, args = client.next()
            while name != '.reply':
                message_id, flags, name, args = client.next()
            assert (message_id, len(args[0])) == (number, SIZE)


def test_a_client_with_many_calls_gives_way(service, monkeypatch):
    made = status_that_takes(service, monkeypatch, 0.001)
    client = service.client()
    client.send(*[message(number, False, 'server_status', ()) for number in range(2000)])
    for _turn in range(10):
        service.good.ping()
        assert len(made) < 2000
    assert [client.next()[0] for _ in range(2000)] == list(range(2000))


def test_many_clients_with_many_calls_take_turns(service, monkeypatch):
    made = status_that_takes(service, monkeypatch, 0.0005)
    clients = [service.client() for _ in range(10)]
    for client in clients:
        client.send(*[message(number, False, 'server_status', ()) for number in range(500)])
    service.good.ping()
    assert len(made) < 5000
    threads = [
        threading.Thread(target=lambda client=client: [client.next() for _ in range(500)])
        for client in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_what_a_client_has_asked_for_is_dropped_with_it(service, monkeypatch):
    made = status_that_takes(service, monkeypatch, 0.001)
    client = service.client()
    client.send(*[message(number, False, 'server_status', ()) for number in range(4000)])
    service.good.ping()
    client.close()
    deadline = time.monotonic() + 30
    while len(service.hosted.peers) > 1 and time.monotonic() < deadline:
        service.good.ping()
    assert len(service.hosted.peers) == 1 and len(made) < 4000


def test_what_came_in_front_of_a_bad_message_is_handled(service):
    client = service.client()
    client.begin(1, (OID, z64, b'data'))
    client.send(
        message(1001, False, 'vote', (1,))
        + message(1002, False, 'tpc_finish', (1,))
        + b'\0\0\0\3bad'
    )
    with pytest.raises(Exception):  # noqa: B017 - the connection ends
        while True:
            client.next()
    service.good.ping()
    assert service.good.load(OID)[0] == b'data'


def test_a_transaction_among_many_calls_keeps_its_order(service, monkeypatch):
    status_that_takes(service, monkeypatch, 0.0005)
    client = service.client()
    pings = [message(10_000 + number, False, 'server_status', ()) for number in range(100)]
    client.send(
        *pings,
        message(0, True, 'tpc_begin', (1, b'', b'', {}, None, ' ')),
        *pings,
        *[
            message(0, True, 'storea', (p64(10**6 + number), z64, b'data', 1))
            for number in range(50)
        ],
        *pings,
        message(1001, False, 'vote', (1,)),
        *pings,
    )
    while client.next()[0] != 1001:
        pass
    tid = client.call('tpc_finish', 1)
    assert service.good.load(p64(10**6 + 49)) == (b'data', tid)


def test_an_iteration_that_begins_far_into_the_database_is_looked_for_by_a_worker(
    service, monkeypatch
):
    client = service.client()
    tid = client.commit(1, (OID, z64, b'data'))
    go_on, original = threading.Event(), service.storage.iterator

    def iterator(*args):
        assert go_on.wait(30)
        return original(*args)

    monkeypatch.setattr(service.storage, 'iterator', iterator)
    call = client.ask('iterator_start', tid, None)
    service.good.ping()  # the loop goes on
    go_on.set()
    assert client.call('iterator_next', client.answer(call))[0] == tid


def test_an_iteration_of_a_client_that_is_gone_is_closed(service, monkeypatch):
    client = service.client()
    tid = client.commit(1, (OID, z64, b'data'))
    asked, go_on, original, opened = (
        threading.Event(),
        threading.Event(),
        service.storage.iterator,
        [],
    )

    def iterator(*args):
        asked.set()
        assert go_on.wait(30)
        opened.append(original(*args))
        return opened[-1]

    monkeypatch.setattr(service.storage, 'iterator', iterator)
    monkeypatch.setattr('ZEO.serving.backends.local._NEAR', 1)  # as far from the end: in a thread
    client.ask('iterator_start', tid, None)
    assert asked.wait(20)
    client.close()
    while len(service.hosted.peers) > 1:
        service.good.ping()
    go_on.set()
    deadline = time.monotonic() + 20
    while not (opened and is_closed(opened[0])) and time.monotonic() < deadline:
        service.good.ping()
    assert is_closed(opened[0])
