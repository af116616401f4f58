"""Closing a client has an end, whatever its server does."""

import socket
import threading

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

from support.inside import cache_of
from support.processes import wait_until
from support.scripted import oid, tid
from ZEO.ClientStorage import ClientStorage


def test_a_client_closes_while_its_server_takes_no_data(connected):
    """One thread waits for the socket, with the lock of what is sent, and another has left a
    message behind it.
    """
    client, talk = connected(tid(1))
    talk.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    ended = threading.Event()

    def store():
        try:
            txn = TransactionMetaData()
            client.tpc_begin(txn)
            for number in range(20):
                client.store(oid(number + 1), z64, b'x' * 1_000_000, '', txn)
            client.tpc_vote(txn)
        except Exception:
            ended.set()

    threading.Thread(target=store, daemon=True).start()
    outbox = client._server.connection._outbox
    wait_until(outbox.lock.locked)
    client.tpc_begin(TransactionMetaData())
    closing = threading.Thread(target=client.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    assert ended.wait(30)


@pytest.mark.parametrize(
    'place',
    [
        'ZEO.cache.client_cache.open_cache',
        'ZEO.ClientStorage.assemble',
        'ZEO.link.link.Link.wait',
        'ZEO.link.connector_thread.ConnectorThread.try_to_start',
    ],
)
def test_an_opening_that_was_interrupted_leaves_the_cache_file_to_the_next(
    place, connected, monkeypatch, tmp_path
):
    """By Ctrl-C, or by a signal handler with a time limit, after which a program tries again."""
    path, wait = str(tmp_path / 'cache.zec'), not place.endswith('to_start')
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, interrupted)
        ClientStorage(str(tmp_path / 'socket'), cache=path, wait=wait)
    client, _ = connected(tid(1), cache=path)
    assert cache_of(client).path == path


def interrupted(*args, **options):
    raise KeyboardInterrupt
