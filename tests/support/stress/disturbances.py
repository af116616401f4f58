"""What happens to a site: each is a function that takes it and a source of random numbers.

Enters: a site whose processes run. Leaves: the same site, in which they run again. Fails:
ProcessFailed when a process does not come back.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from persistent.TimeStamp import TimeStamp

from support.sides import OURS
from support.stress.ground import Ground
from support.stress.site import Site

Disturbance = Callable[[Any, random.Random], None]


def kill_server(site: Ground, chooser: random.Random) -> None:
    """kill -9, and a new process on the same file."""
    server = chooser.choice(site.servers)
    server.kill()
    time.sleep(chooser.random() * 0.3)
    site.start_again(server)


def stop_server(site: Ground, chooser: random.Random) -> None:
    """SIGSTOP: connections stay, and nothing is answered."""
    _pause(chooser.choice(site.servers)._process.popen.pid, chooser.random() * 1.5)


def restart_server(site: Ground, chooser: random.Random) -> None:
    """SIGTERM, as for an upgrade."""
    server = chooser.choice(site.servers)
    server.stop()
    site.start_again(server)


def kill_client(site: Ground, chooser: random.Random) -> None:
    """kill -9, and a new process with the same cache file."""
    chooser.choice(site.clients).kill()


def stop_client(site: Ground, chooser: random.Random) -> None:
    """SIGSTOP: it may hold the commit lock, and reads no invalidations."""
    _pause(chooser.choice(site.clients).process.popen.pid, chooser.random() * 1.5)


def _pause(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def reset(site: Site, chooser: random.Random) -> None:
    """All connections over one wire end at once."""
    chooser.choice(site.wires).reset()


def cut(site: Site, chooser: random.Random) -> None:
    """The same, and no new ones are accepted for a while."""
    wire = chooser.choice(site.wires)
    wire.cut()
    time.sleep(chooser.random() * 0.5)
    wire.mend()


def cut_within(site: Site, chooser: random.Random) -> None:
    """A connection ends behind one byte, wherever in a message that is."""
    chooser.choice(site.wires).cut_after(chooser.choice([1, 10, 100, 1000, 10_000, 100_000]))


def slow_wire(site: Site, chooser: random.Random) -> None:
    """A while of delays, and of a few bytes at a time."""
    wire = chooser.choice(site.wires)
    wire.delay, wire.piece = chooser.random() * 0.02, chooser.choice([7, 500, 65536])
    time.sleep(0.5)
    wire.delay, wire.piece = 0.0, 65536


def fill_disk(site: Site, chooser: random.Random) -> None:
    """The server's file may not grow any more, for a while."""
    pid = site.servers[0]._process.popen.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    space = chooser.choice([0, 10, 300, 3000])
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (site.data.stat().st_size + space, before[1]))
    try:
        time.sleep(chooser.random())
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def pack(site: Ground, chooser: random.Random) -> None:
    """zeopack, while clients commit."""
    packed = subprocess.run(
        [
            OURS.python,
            '-m',
            'ZEO.scripts.zeopack',
            '--quiet',
            '--timeout',
            '20',
            *site.pack_arguments(),
        ],
        env=OURS.environ(),
        capture_output=True,
        timeout=60,
    )
    if not packed.returncode:
        site.packs += 1
    site.packed = TimeStamp(*time.gmtime()[:5], time.time() % 60).raw().hex()


#: All of them, those that cost more less often.
ALL: list[Disturbance] = [
    kill_server,
    kill_server,
    stop_server,
    restart_server,
    kill_client,
    kill_client,
    stop_client,
    reset,
    reset,
    cut,
    cut_within,
    cut_within,
    cut_within,
    slow_wire,
    fill_disk,
    pack,
]
