"""The good client: a process that works on the server under attack and notes how long each of its
calls takes.

It does the same on a server at rest, of which it notes how long things take on this machine without
any attack.

Enters: both sockets, the encoding and the length of the work, as arguments. Leaves: one line of
JSON on standard output: for each call how often, and the mean and the worst time in seconds. Fails:
with exit status 1 and the error, when a call fails or an answer is wrong.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OBJECTS = 200
AT_REST = ' at rest'
PAUSE = 0.002  # seconds between its calls, so that most of the machine is left to the attack


class Times:
    """How long calls took."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = {}

    def take(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        """Make a call; return its result."""
        begin = time.perf_counter()
        try:
            return call(*args)
        finally:
            self.taken.setdefault(name, []).append(time.perf_counter() - begin)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return the figures of each call."""
        return {
            name: {'count': len(taken), 'mean': sum(taken) / len(taken), 'worst': max(taken)}
            for name, taken in self.taken.items()
        }


def commit(
    wire: Any, txn: int, oids: list[bytes], serials: dict[bytes, bytes], data: bytes
) -> bytes:
    """Store `data` under each oid in one transaction."""
    wire.send('tpc_begin', txn, b'good', b'', {}, None, ' ')
    for oid in oids:
        wire.send('storea', oid, serials.get(oid, b'\0' * 8), data, txn)
    wire.call('vote', txn)
    tid = wire.call('tpc_finish', txn)
    serials.update(dict.fromkeys(oids, tid))
    return tid


def work(path: str, encoding: str, seconds: float, times: Times, where: str = '') -> None:
    """Load, commit and ask on a storage of its own, and ask beside those who attack the other one.

    :param where: what the names of the calls get at their end.
    """
    from fuzzlib.wire import Wire

    wire, rng = Wire(path, encoding), random.Random(0)
    other = Wire(path, encoding)
    wire.call('register', '2', False)
    other.call('register', '1', True)
    oids = [number.to_bytes(8, 'big') for number in range(1, OBJECTS + 1)]
    serials: dict[bytes, bytes] = {}
    commit(wire, 1, oids, serials, b'first')
    last, late, txn = dict.fromkeys(oids, b'first'), b'\x7f' + b'\xff' * 7, 1
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        oid, txn = rng.choice(oids), txn + 1
        data, _, _ = times.take('load' + where, wire.call, 'loadBefore', oid, late)
        if data != last[oid]:
            raise ValueError(f'oid {oid.hex()} is {data!r}, not {last[oid]!r}')
        last[oid] = b'%d' % txn
        times.take('commit' + where, commit, wire, txn, [oid], serials, last[oid])
        times.take('ping' + where, wire.call, 'ping')
        times.take('ping beside the attack' + where, other.call, 'ping')
        time.sleep(PAUSE)


def queue(path: str, encoding: str, seconds: float, times: Times) -> None:
    """Commit to the storage that is attacked, behind those who hold its lock."""
    from fuzzlib.wire import Wire

    wire = Wire(path, encoding)
    wire.call('register', '1', False)
    end, txn = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        txn += 1
        oid = wire.call('new_oids', 1)[0]
        times.take(
            'commit behind the attack', commit, wire, txn, [oid], {}, b'\x80\x03N.\x80\x03N.'
        )
        time.sleep(0.05)


def main() -> int:
    """Work for some seconds, and print the figures."""
    path, resting, encoding, seconds = *sys.argv[1:4], float(sys.argv[4])
    times, failed = Times(), []

    def run(job: Callable[..., None], path: str, *where: str) -> None:
        try:
            job(path, encoding, seconds, times, *where)
        except Exception as error:  # whatever it is, the server has failed its good client
            failed.append(f'{job.__name__}: {type(error).__name__}: {error}')

    jobs = (work, path), (queue, path), (work, resting, AT_REST)
    threads = [threading.Thread(target=run, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({'times': times.summary(), 'failed': failed}))
    return bool(failed)


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
