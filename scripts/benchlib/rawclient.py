"""Many clients in one process, speaking the wire protocol on bare sockets.

A thousand real ClientStorages would measure themselves; these cost next to nothing, the same for
every server.  In: an address and how many.  Fails with ProtocolSurprise when the server answers
something that does not look like the protocol.
"""

from __future__ import annotations

import io
import pickle
import selectors
import struct
import time
from typing import Any

from support.processes import Address, connect

from .children import Stage
from .records import expect, oids_from
from .registry import role

TIMEOUT = 60.0
REPLY_OVERHEAD = 20  # a reply is the record, two tids and some bytes of pickle


class ProtocolSurprise(Exception):
    """The server said something unexpected."""


def encode(message_id: object, flags: object, name: str, args: tuple[Any, ...]) -> bytes:
    """Return a message as a frame; pickled without a memo, as the protocol wants it."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 3)
    pickler.fast = True
    pickler.dump((message_id, flags, name, args))
    body = out.getvalue()
    return struct.pack('>I', len(body)) + body


class RawClient:
    """One registered connection."""

    def __init__(self, address: Address):
        self.sock = connect(address)
        self.buffer = bytearray()
        self.wait_frame()  # the greeting
        self.sock.sendall(struct.pack('>I', 2) + b'Z5')
        for number, (name, args) in enumerate([('register', ('1', False)), ('get_info', ())]):
            self.sock.sendall(encode(number + 1, False, name, args))
            if b'.reply' not in self.wait_frame():
                raise ProtocolSurprise(f'no reply to {name}')

    def wait_frame(self) -> bytes:
        """Return the next frame, waiting for it."""
        while True:
            frames = self.frames(1)
            if frames:
                return frames[0]
            self.receive()

    def receive(self) -> None:
        """Take in what has arrived."""
        data = self.sock.recv(1 << 18)
        if not data:
            raise ProtocolSurprise('the server closed the connection')
        self.buffer += data

    def frames(self, most: int = 1 << 30) -> list[bytes]:
        """Return the complete frames that have arrived, at most so many."""
        found, start, buffer = [], 0, self.buffer
        while len(found) < most and len(buffer) - start >= 4:
            end = start + 4 + int.from_bytes(buffer[start : start + 4], 'big')
            if end > len(buffer):
                break
            found.append(bytes(buffer[start + 4 : end]))
            start = end
        del buffer[:start]
        return found


def _watch(clients: list[RawClient]) -> selectors.BaseSelector:
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
    return selector


@role
def receivers(stage: Stage, address: Address, connections: int, expected: int) -> None:
    """Child: registered connections that take in `expected` invalidations each."""
    clients = [RawClient(address) for _ in range(connections)]
    selector = _watch(clients)
    stage.ready()
    received, deadline = 0, time.monotonic() + TIMEOUT
    while received < expected * connections:
        if time.monotonic() > deadline:
            raise ProtocolSurprise(f'{received} invalidations of {expected * connections}')
        for key, _ in selector.select(1.0):
            key.data.receive()
            received += sum(b'invalidateTransaction' in frame for frame in key.data.frames())
    stage.report({'received': received})


@role
def raw_loaders(
    stage: Stage, address: Address, connections: int, seconds: float, objects: int, size: int
) -> None:
    """Child: every connection has one loadBefore under way all the time."""
    oids, far = oids_from(1, objects), b'\x7f' + b'\xff' * 7
    calls = [encode(i, False, 'loadBefore', (oid, far)) for i, oid in enumerate(oids)]
    clients = [RawClient(address) for _ in range(connections)]
    selector = _watch(clients)
    stage.ready()
    begin = time.perf_counter()
    sent = done = 0
    for client in clients:
        client.sock.sendall(calls[sent % objects])
        sent += 1
    while time.perf_counter() - begin < seconds or done < sent:
        for key, _ in selector.select(TIMEOUT):
            client = key.data
            client.receive()
            for frame in client.frames():
                expect('size of a reply', len(frame) > size + REPLY_OVERHEAD, True)
                done += 1
                if time.perf_counter() - begin < seconds:
                    client.sock.sendall(calls[sent % objects])
                    sent += 1
    stage.report({'count': done, 'seconds': time.perf_counter() - begin})
