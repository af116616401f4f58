#!/usr/bin/env python3
"""Attacks a server of its own and shows what that costs a well-behaved client.

    python scripts/attack.py                            all attacks on this checkout
    python scripts/attack.py --only 'hash-*,pipeline'   some of them
    python scripts/attack.py --against DIR              the same on other sources as well, in turn

Enters: nothing but switches. Leaves: a table with a row for each attack: the worst wait of a
well-behaved client, the server's processor time and peak memory, files that are left open, whether
code of the attacker ran. Fails: exit status 1 when a server died, ran code, or let the good client
wait for more than half a second.

Each attack has a fresh server process, with its memory bounded so that it can't harm the machine,
on a Unix socket.
"""

from __future__ import annotations

import argparse
import fnmatch
import io
import multiprocessing
import os
import pickle
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent.parent / 'src'

#: Seconds for one attack, and for the good client's last answer after it.
LONGEST, PATIENCE = 30.0, 60.0

#: A good client that waits for longer is let down.
ACCEPTABLE = 0.5

#: Bytes of address space that a server may have.
MEMORY = 8 * 2**30

OID = bytes(7) + b'\1'
NEW = bytes(8)
LATEST = b'\x7f' + b'\xff' * 7


class Closed(Exception):
    """The server has ended the connection."""


class Raw:
    """A connection that says whatever it is told to."""

    def __init__(self, address: str, register: bool = True, protocol: bytes = b'Z5') -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LONGEST)
        self.socket.connect(address)
        self._received = bytearray()
        self._last = 0
        self.frame()
        self.send_frame(protocol)
        if register:
            self.call('register', '1', False)

    def send_frame(self, body: bytes) -> None:
        try:
            self.socket.sendall(struct.pack('>I', len(body)) + body)
        except OSError as error:
            raise Closed from error

    def frame(self) -> bytes:
        while len(self._received) < 4 or len(self._received) < 4 + int.from_bytes(
            self._received[:4], 'big'
        ):
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionError as error:
                raise Closed from error
            if not data:
                raise Closed
            self._received += data
        end = 4 + int.from_bytes(self._received[:4], 'big')
        body = bytes(self._received[4:end])
        del self._received[:end]
        return body

    def ask(self, name: str, *args: Any) -> int:
        """Send a call without waiting for its answer."""
        self._last += 1
        self.send_frame(message(self._last, False, name, args))
        return self._last

    def tell(self, name: str, *args: Any) -> None:
        self.send_frame(message(0, True, name, args))

    def call(self, name: str, *args: Any) -> Any:
        """Return what the server answers; a fault is returned as (2, description)."""
        number = self.ask(name, *args)
        while True:
            answer_id, flags, kind, result = pickle.loads(self.frame())
            if kind == '.reply' and answer_id == number:
                return (2, result) if flags == 2 else result

    def commit(
        self,
        data: bytes,
        *,
        oid: bytes = OID,
        serial: bytes = NEW,
        txn_id: int = 1,
        extension: Any = b'',
    ) -> Any:
        self.tell('tpc_begin', txn_id, b'', b'', extension, None, ' ')
        self.tell('storea', oid, serial, data, txn_id)
        voted = self.call('vote', txn_id)
        if isinstance(voted, tuple):
            return voted
        return self.call('tpc_finish', txn_id)

    def close(self) -> None:
        self.socket.close()


def message(message_id: Any, one_way: bool, name: str, args: Any) -> bytes:
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 3)
    pickler.fast = True
    pickler.dump((message_id, one_way, name, args))
    return out.getvalue()


def around(name: str, argument: bytes) -> bytes:
    """Return a call whose one argument is given as opcodes."""
    return (
        b'\x80\x03(K\1\x89X' + struct.pack('<I', len(name)) + name.encode() + argument + b'\x85t.'
    )


@dataclass
class Target:
    """The server under attack."""

    address: str
    folder: Path
    canary: Path
    pid: int


Attack = Callable[[Target], None]
ATTACKS: dict[str, tuple[Attack, dict[str, str]]] = {}


def attack(name: str, **settings: str) -> Callable[[Attack], Attack]:
    """Enter a function into the list; `settings` are keys of <zeo>, and `storage`."""

    def enter(function: Attack) -> Attack:
        ATTACKS[name] = function, settings
        return function

    return enter


def runs_code(target: Target) -> bytes:
    """A pickle that would make the canary."""
    command = f'touch {target.canary}'.encode()
    return b'\x80\x03N0cos\nsystem\nX' + struct.pack('<I', len(command)) + command + b'\x85R.'


@attack('none')
def nothing(target: Target) -> None:
    """What the measurement itself shows."""
    time.sleep(2)


@attack('code-in-record')
@attack('code-in-record-mapping', storage='mapping')
@attack('code-in-record-demo', storage='demo')
@attack('code-in-record-client-resolves', client_conflict_resolution='on')
def code_in_record(target: Target) -> None:
    client = Raw(target.address)
    first = client.commit(b'first')
    client.commit(b'second', serial=first)
    client.commit(runs_code(target), serial=first)


@attack('code-in-extension')
@attack('code-in-extension-mapping', storage='mapping')
@attack('code-in-extension-demo', storage='demo')
def code_in_extension(target: Target) -> None:
    client = Raw(target.address)
    client.commit(b'first', extension=runs_code(target))
    client.call('undoLog', 0, -20)
    client.call('undoInfo', 0, -20, None)
    client.call('history', OID, 10)
    for call in 'iterator_next', 'iterator_batch':
        number = client.call('iterator_start', None, None)
        if isinstance(number, int):
            client.call(call, number)


@attack('one-message-huge-int', storage='mapping')
def huge_int(target: Target) -> None:
    digits = (10**5000).to_bytes(2100, 'little')
    number = b'\x8b' + struct.pack('<I', len(digits)) + digits
    body = (
        b'\x80\x03(K\1\x89X\x0a\0\0\0loadBefore(cbuiltins\nfrozenset\n('
        + number
        + b'l\x85RC\x08'
        + LATEST
        + b'tt.'
    )
    _send_and_see(target, body)


@attack('one-message-nested', storage='mapping')
def nested(target: Target) -> None:
    body = (
        b'\x80\x03(K\1\x89X\x0a\0\0\0loadBefore('
        + b'(' * 700
        + b't' * 700
        + b'C\x08'
        + LATEST
        + b'tt.'
    )
    _send_and_see(target, body)


def _send_and_see(target: Target, body: bytes) -> None:
    for _ in range(3):
        client = Raw(target.address)
        try:
            client.send_frame(body)
            client.frame()
        except Closed:
            pass
        client.close()


@attack('segv-in-conflict')
@attack('segv-in-conflict-client-resolves', client_conflict_resolution='on')
def segv(target: Target) -> None:
    record = b'\x80\x03}' + b'(' * 2_000_000 + b't' * 2_000_000 + b'Ns.'
    client = Raw(target.address)
    first = client.commit(b'first')
    client.commit(b'second', serial=first)
    for data in (record, b'\x80\x03cBTrees.Length\nLength\n.' + record, b'\x80\x03Nr\0\0\0\x08.'):
        client.commit(data, serial=first, txn_id=2)
        client = Raw(target.address)


def colliding(count: int, opener: bytes, pair: bytes, closer: bytes) -> bytes:
    """The opcodes of a dict or set whose keys all have the hash 0."""
    parts = [opener]
    for k in range(1, count + 1):
        value = (k * (2**61 - 1)).to_bytes(12, 'little').rstrip(b'\0') + b'\0'
        parts += [b'\x8a', bytes([len(value)]), value, pair]
    return b''.join([*parts, closer])


@attack('hash-before-register')
def hash_before_register(target: Target) -> None:
    client = Raw(target.address, register=False)
    try:
        for _ in range(10):
            client.send_frame(around('register', colliding(4000, b'}(', b'N', b'u'))[:65000])
            client.frame()
    except Closed:
        pass


@attack('hash-dict')
def hash_dict(target: Target) -> None:
    _argument(target, colliding(10_000, b'}(', b'N', b'u'))


@attack('hash-set')
def hash_set(target: Target) -> None:
    _argument(target, colliding(10_000, b'\x8f(', b'', b'\x90'))


def _argument(target: Target, opcodes: bytes) -> None:
    client = Raw(target.address)
    try:
        client.send_frame(around('ping', opcodes))
        client.frame()
    except Closed:
        pass


@attack('many-sets')
def many_sets(target: Target) -> None:
    _argument(target, b'(' + b'\x8f' * 5_000_000 + b't')


@attack('many-lists')
def many_lists(target: Target) -> None:
    _argument(target, b'(' + b']' * 5_000_000 + b't')


@attack('many-opcodes')
def many_opcodes(target: Target) -> None:
    _argument(target, b'N0' * 10_000_000 + b'N')


def _stored(client: Raw, size: int) -> None:
    client.commit(b'x' * size)


@attack('load-many')
def load_many(target: Target) -> None:
    client = Raw(target.address)
    _stored(client, 2**20)
    for size in 1000, 3000:
        number = client.ask('load_many', [OID] * size, LATEST)
        assert number
        try:
            client.frame()
        except Closed:
            client = Raw(target.address)


@attack('pipeline')
def pipeline(target: Target) -> None:
    client = Raw(target.address)
    _stored(client, 2_200_000)
    client.socket.sendall(
        b''.join(
            struct.pack('>I', len(body)) + body
            for body in (message(n, False, 'loadBefore', (OID, LATEST)) for n in range(1000))
        )
    )
    time.sleep(5)  # without reading


@attack('status-unread')
def status_unread(target: Target) -> None:
    body = message(1, False, 'server_status', ())
    chunk = (struct.pack('>I', len(body)) + body) * 1000
    until = time.monotonic() + 5
    client = Raw(target.address)
    client.socket.settimeout(0.1)
    while time.monotonic() < until:
        try:
            client.socket.send(chunk)
        except (TimeoutError, OSError):
            time.sleep(0.01)


@attack('half-frames')
def half_frames(target: Target) -> None:
    clients = [Raw(target.address) for _ in range(3)]
    megabyte = bytes(2**20)
    for client in clients:
        client.socket.settimeout(2)
        client.socket.sendall(struct.pack('>I', 2**31 - 1))
        try:
            for _ in range(300):
                client.socket.sendall(megabyte)
        except OSError:  # it has had enough
            pass
    time.sleep(1)


@attack('open-transactions')
def open_transactions(target: Target) -> None:
    client = Raw(target.address)
    client.socket.settimeout(5)
    data = bytes(9 * 2**20)
    try:
        for number in range(100):
            client.tell('tpc_begin', number, b'', b'', b'', None, ' ')
            client.tell('storea', OID, NEW, data, number)
    except (Closed, OSError):
        pass


@attack('empty-transactions')
def empty_transactions(target: Target) -> None:
    client = Raw(target.address)
    client.socket.settimeout(5)
    try:
        for number in range(200_000):
            client.tell('tpc_begin', number, b'', b'', b'', None, ' ')
    except (Closed, OSError):
        pass


@attack('lock-queue', transaction_timeout='2')
def lock_queue(target: Target) -> None:
    """The good one is another client that commits."""
    client = Raw(target.address)
    try:
        for number in range(200):
            client.tell('tpc_begin', number, b'', b'', b'', None, ' ')
            client.tell('storea', OID, NEW, b'x', number)
            client.ask('vote', number)
    except (Closed, OSError):
        pass
    other = Raw(target.address)
    began = time.monotonic()
    try:
        other.commit(b'good', oid=bytes(7) + b'\2')
        print(f"    another client's commit took {time.monotonic() - began:.1f} s", flush=True)
    except OSError:
        print(
            f"    another client's commit was not there after {time.monotonic() - began:.0f} s",
            flush=True,
        )


@attack('undo-queue')
def undo_queue(target: Target) -> None:
    client = Raw(target.address)
    serial = NEW
    for _ in range(3000):
        serial = client.commit(b'x', serial=serial)
    try:
        for _ in range(5000):
            client.ask('undoLog', 0, -(10**6))
    except (Closed, OSError):
        pass
    client.close()
    other = Raw(target.address)
    began = time.monotonic()
    try:
        other.call('undoLog', 0, -5)
        print(f"    another client's undoLog took {time.monotonic() - began:.1f} s", flush=True)
    except OSError:
        print(
            f"    another client's undoLog was not there after {time.monotonic() - began:.0f} s",
            flush=True,
        )


@attack('iterators')
def iterators(target: Target) -> None:
    client = Raw(target.address)
    client.commit(b'x')
    try:
        for _ in range(2000):
            client.call('iterator_start', None, None)
    except Closed:
        pass


@attack('strangers')
def strangers(target: Target) -> None:
    sockets = []
    for _ in range(3000):
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(1)
        try:
            stream.connect(target.address)
        except OSError:
            pass
        sockets.append(stream)
    time.sleep(1)
    for stream in sockets:
        stream.close()


@attack('log-flood')
def log_flood(target: Target) -> None:
    """The good client shows what it costs; the size of the log is printed."""
    name = b'x' * 60_000
    for _ in range(300):
        client = Raw(target.address, register=False)
        try:
            client.send_frame(b'\x80\x03c' + name + b'\ny\n.')
            client.frame()
        except Closed:
            pass
        client.close()
    for _ in range(200):
        client = Raw(target.address)
        try:
            client.tell('set_client_label', 'y' * 1_000_000)
            client.call('loadSerial', OID, OID)
        except Closed:
            pass
        client.close()
    print(f'    the log has {os.path.getsize(target.folder / "log"):,} bytes', flush=True)


@attack('future-tid')
def future_tid(target: Target) -> None:
    client = Raw(target.address)
    client.tell('tpc_begin', 1, b'', b'', b'', b'\xff' * 8, ' ')
    client.tell('storea', OID, NEW, b'x', 1)
    try:
        voted = client.call('vote', 1)
        if not isinstance(voted, tuple):
            print(f'    committed as {client.call("tpc_finish", 1)!r}', flush=True)
    except Closed:
        pass


@attack('blob-leftovers')
def blob_leftovers(target: Target) -> None:
    for _ in range(5):
        client = Raw(target.address)
        try:
            client.tell('storeBlobStart')
            for _ in range(20):
                client.tell('storeBlobChunk', bytes(50_000))
            client.tell('storeBlobEnd', OID, NEW, b'x', 99)
            client.call('ping')
        except Closed:
            pass
        client.close()
    time.sleep(0.5)
    left = [
        path
        for path in (target.folder / 'blobs').rglob('*')
        if path.is_file() and path.name[0] != '.'
    ]
    print(f'    {len(left)} files are left', flush=True)


# Measuring.


def be_good(address: str, pipe: Connection) -> None:
    """Load and ping without a pause of more than some milliseconds; say how long the longest
    took.
    """
    client = Raw(address)
    client.socket.settimeout(PATIENCE)
    pipe.send('ready')
    worst, total, count = 0.0, 0.0, 0
    try:
        while not pipe.poll(0.002):
            began = time.monotonic()
            client.call('ping')
            client.call('loadBefore', bytes(8), LATEST)
            took = time.monotonic() - began
            worst, total, count = max(worst, took), total + took, count + 1
    except (Closed, OSError) as error:
        pipe.send((PATIENCE, f'{type(error).__name__} {error}'))
        return
    pipe.send((worst, f'{1000 * total / max(count, 1):.1f}'))


STORAGES = {
    'file': '<filestorage>\npath {folder}/Data.fs\nblob-dir {folder}/blobs\n</filestorage>',
    'mapping': '<mappingstorage>\n</mappingstorage>',
    'demo': '<demostorage>\n</demostorage>',
}


def start(
    sources: str, folder: Path, settings: dict[str, str]
) -> tuple[subprocess.Popen[bytes], str]:
    settings = dict(settings)
    storage = STORAGES[settings.pop('storage', 'file')].format(folder=folder)
    keys = '\n'.join(f'{key.replace("_", "-")} {value}' for key, value in settings.items())
    address = str(folder / 's')
    (folder / 'zeo.conf').write_text(f'<zeo>\naddress {address}\n{keys}\n</zeo>\n{storage}\n')
    process = subprocess.Popen(
        [sys.executable, '-m', 'ZEO.runzeo', '-C', str(folder / 'zeo.conf')],
        env={**os.environ, 'PYTHONPATH': sources, 'TMPDIR': str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=open(folder / 'log', 'wb'),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    until = time.monotonic() + 30
    while True:
        try:
            Raw(address).close()
            return process, address
        except OSError:
            if time.monotonic() > until or process.poll() is not None:
                raise
            time.sleep(0.05)


def figures(pid: int) -> tuple[float, float, int]:
    """Seconds of processor time, peak memory in MB, open files."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    peak = next(
        line
        for line in Path(f'/proc/{pid}/status').read_text().splitlines()
        if line.startswith('VmHWM')
    )
    return seconds, int(peak.split()[1]) / 1024, len(os.listdir(f'/proc/{pid}/fd'))


def run(name: str, sources: str) -> tuple[str, bool]:
    """Run one attack; return its row and whether the server stood it."""
    function, settings = ATTACKS[name]
    folder = Path(tempfile.mkdtemp(prefix='zeo-attack-'))
    process, address = start(sources, folder, settings)
    ours, theirs = multiprocessing.Pipe()
    good = multiprocessing.Process(target=be_good, args=(address, theirs), daemon=True)
    attacker = multiprocessing.Process(
        target=function,
        args=(Target(address, folder, folder / 'canary', process.pid),),
        daemon=True,
    )
    try:
        good.start()
        ours.recv()
        before = figures(process.pid)
        attacker.start()
        attacker.join(2 * LONGEST)
        attacker.kill()
        attacker.join()
        ours.send('enough')
        worst, mean = ours.recv() if ours.poll(PATIENCE + 5) else (PATIENCE, 'no answer')
        ran = (folder / 'canary').exists()
        time.sleep(0.3)  # for what has just been closed, or has just died
        if process.poll() is not None:
            return (
                f'{name:34} the server DIED, status '
                f'{process.returncode}{"; CODE RAN" if ran else ""}',
                False,
            )
        seconds, peak, files = figures(process.pid)
        row = (
            f'{name:34} {1000 * worst:9.0f} {mean:>10} {seconds - before[0]:9.1f} {peak:9.0f} '
            f'{files - before[2]:6}'
            f'{"  CODE RAN" if ran else ""}'
        )
        return row, not ran and worst <= ACCEPTABLE
    finally:
        process.kill()
        process.wait()
        good.kill()
        good.join()
        shutil.rmtree(folder, ignore_errors=True)


def chosen(names: str) -> Iterator[str]:
    patterns = names.split(',')
    return (name for name in ATTACKS if any(fnmatch.fnmatch(name, pattern) for pattern in patterns))


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        description='Attack a server of its own, and show what that costs a good client.'
    )
    parser.add_argument(
        '--only',
        default='*',
        metavar='NAMES',
        help='attacks, separated by commas; hash-* for all that begin so',
    )
    parser.add_argument(
        '--against',
        action='append',
        default=[],
        metavar='DIR',
        help='run them on the package in DIR as well',
    )
    args = parser.parse_args()
    print(f'{"attack":34} {"worst ms":>9} {"mean ms":>10} {"CPU s":>9} {"peak MB":>9} {"files":>6}')
    stood = True
    for name in chosen(args.only):
        for sources in [*args.against, str(SOURCES)]:
            row, good = run(name, sources)
            own = sources == str(SOURCES)
            stood = stood and (good or not own)
            print(f'{row}{"" if own else "   (" + sources + ")"}', flush=True)
    return 0 if stood else 1


if __name__ == '__main__':
    sys.exit(main())
