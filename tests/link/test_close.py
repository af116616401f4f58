"""Closing a client has an end, whatever its server does."""

import socket
import threading

from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

from support.processes import wait_until
from support.scripted import oid, tid


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
