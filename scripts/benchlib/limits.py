"""Bare limits: what the machine and Python allow without ZEO; the same for every implementation."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import socket
import ssl
import struct
from typing import Any

from support.processes import Address, Process, connect, free_port

from .children import Crew, Stage
from .meters import Meter, Metrics, process_cpu
from .records import DATA_FILE, after, expect, fill_file, load_all, make_record, oids_from
from .registry import FEW, LOADS, SHORT, Row, role, workload
from .servers import make_certificate
from .zodb_names import FileStorage

TID = b'\x04' + b'\x01' * 7


class Unavailable(Exception):
    """The machine lacks something that this limit needs; it is skipped."""


def _receive_frame(sock: socket.socket, buffer: bytearray) -> bytes:
    """Return the next frame; the shortest loop that is right."""
    while len(buffer) < 4 or len(buffer) < 4 + int.from_bytes(buffer[:4], 'big'):
        data = sock.recv(1 << 16)
        if not data:
            raise EOFError
        buffer += data
    end = 4 + int.from_bytes(buffer[:4], 'big')
    frame = bytes(buffer[4:end])
    del buffer[:end]
    return frame


@role
def bare_server(stage: Stage, address: Address, size: int, tls: bool) -> None:
    """Child: answers loadBefore from a constant, one client, blocking sockets, plain pickle."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen()
    data, buffer = make_record(size), bytearray()
    print('ready', flush=True)
    sock: Any = listener.accept()[0]
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain('cert.pem', 'key.pem')
        sock = context.wrap_socket(sock, server_side=True)
    with contextlib.suppress(EOFError):
        while True:
            number, _, _, (oid, _) = pickle.loads(_receive_frame(sock, buffer))
            reply = pickle.dumps((number, 0, '.reply', (data, TID, None)), 3)
            sock.sendall(struct.pack('>I', len(reply)) + reply)
    stage.report({})


@workload(
    Row(
        'bare-unix',
        'limit: two bare Python processes, Unix socket',
        {'seconds': 1.0, 'transport': 'unix'},
        SHORT,
        limit=True,
    ),
    Row(
        'bare-tcp',
        'limit: two bare Python processes, TCP',
        {'seconds': 1.0, 'transport': 'tcp'},
        SHORT,
        limit=True,
    ),
    Row(
        'bare-tls',
        'limit: two bare Python processes, TLS over TCP',
        {'seconds': 1.0, 'transport': 'tls'},
        SHORT,
        limit=True,
    ),
)
def bare_messages(seconds: float, transport: str, count: int = 2000, size: int = 1024) -> Metrics:
    """Two bare Python processes that pickle and unpickle the messages of a load."""
    address: Address = (
        os.path.join(os.getcwd(), 'z') if transport == 'unix' else ('127.0.0.1', free_port())
    )
    tls = transport == 'tls'
    if tls:
        make_certificate()
    with Crew('bare_server', address, [{'size': size, 'tls': tls}]) as crew:
        sock: Any = connect(address)
        buffer, total = bytearray(), 0
        sock.settimeout(None)
        if tls:
            context = ssl.create_default_context(cafile='cert.pem')
            sock = context.wrap_socket(sock, server_hostname='localhost')
        meter, done = Meter(crew.processes[0].pid), 0
        while meter.seconds < seconds:
            with meter:
                for number, oid in enumerate(oids_from(1, count)):
                    call = pickle.dumps((number, False, 'loadBefore', (oid, TID)), 3)
                    sock.sendall(struct.pack('>I', len(call)) + call)
                    total += len(pickle.loads(_receive_frame(sock, buffer))[3][0])
            done += count
        expect('bytes loaded', total, done * size)
        sock.close()
        return meter.per_operation(done)


@workload(
    Row(
        'bare-file-load',
        'limit: FileStorage in-process, load',
        LOADS,
        FEW,
        limit=True,
    ),
)
def bare_file_load(count: int, seconds: float, size: int = 1024) -> Metrics:
    """The same loads from a FileStorage in this process: the storage's share of a cold load."""
    oids = fill_file(count, size)
    storage = FileStorage(DATA_FILE, read_only=True)
    before, meter, done, total = after(storage), Meter(), 0, 0
    while meter.seconds < seconds:
        with meter:
            total += load_all(storage, oids, before)
        done += count
    expect('bytes loaded', total, done * size)
    storage.close()
    return meter.per_operation(done)


@contextlib.contextmanager
def _redis_server(path: str):  # type: ignore[no-untyped-def]
    executable = shutil.which('redis-server')
    if executable is None:
        raise Unavailable('no redis-server on this machine')
    switches = ['--port', '0', '--unixsocket', path, '--save', '', '--appendonly', 'no']
    with Process([executable, *switches]) as process:
        process.wait_until(lambda: os.path.exists(path), pause=0.01)
        yield process


@workload(
    Row(
        'redis-get',
        'for scale: redis-py GET of 1 KB, Unix socket',
        {'seconds': 1.0},
        SHORT,
        limit=True,
    ),
)
def redis_get(seconds: float, count: int = 2000, size: int = 1024) -> Metrics:
    """GET of a value of 1 KB by redis-py, with hiredis, through a Unix socket: for scale."""
    try:
        import hiredis  # noqa: F401
        import redis
    except ImportError as missing:
        raise Unavailable(f'{missing}: pip install redis hiredis') from None
    path = os.path.join(os.getcwd(), 'r')
    with _redis_server(path) as process:
        client = redis.Redis(unix_socket_path=path)
        names = [oid.hex() for oid in oids_from(1, count)]
        for name in names:
            client.set(name, make_record(size))
        process_cpu(process.pid)
        meter, done, total = Meter(process.pid), 0, 0
        while meter.seconds < seconds:
            with meter:
                for name in names:
                    total += len(client.get(name))
            done += count
        expect('bytes loaded', total, done * size)
        client.close()
        return meter.per_operation(done)


# The same on one core: after all those on all cores, as the table shows them.
workload(
    Row(
        'bare-unix-1-core',
        'limit: two bare processes, Unix socket, one core',
        {'seconds': 1.0, 'transport': 'unix', 'cores': 1},
        SHORT,
        limit=True,
    ),
)(bare_messages)
workload(
    Row(
        'redis-get-1-core',
        'for scale: redis-py GET of 1 KB, Unix socket, one core',
        {'seconds': 1.0, 'cores': 1},
        SHORT,
        limit=True,
    ),
)(redis_get)
