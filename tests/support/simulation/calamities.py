"""What goes wrong in a history, as plans have it.

Enters: one fault of a plan, and the world. Leaves: its effect; some end by themselves, and all of
them at :func:`calm`. Fails: never.

- ``reset A B BYTES``: connections between A and B (None: all of A) break after some more bytes
- ``flaky A SECONDS COUNT STOP``: all connections of A break, again and again; if STOP is not 0, A
  stands still for half of the time between, that many seconds after each break
- ``cut A B SECONDS``: nothing gets through between A and B
- ``pause A SECONDS``: SIGSTOP, then SIGCONT
- ``crash A SECONDS kill|crash``: A is killed, or its machine loses its power; it starts again later
- ``stop A SECONDS BACK``: server A ends in order, with SECONDS for its clients, and starts again
  BACK seconds later
- ``clock A SECONDS``: the wall clock jumps
- ``fail A DOOR ERROR AFTER TIMES``: calls to the outside fail
- ``strike A CALL ERROR AFTER``: an exception strikes an application's thread within a call of its
  storage, see :mod:`support.simulation.strikes`
- ``latency SECONDS SECONDS``: the network is slow for a while
- ``power A CHANGES SECONDS kill|crash``: the same as a crash, within a call that changes A's disk
- ``promote kill|crash|stop|cut SECONDS BACK``: the primary is gone, or cut off from its followers;
  SECONDS later one of them is promoted, and BACK seconds later the old one follows it
- ``database lost|away SECONDS``: all connections to the database are lost; or there are none for a
  while
- ``disk A full|error|slow|files|read-only NUMBER SECONDS``: a full disk, a call that fails, calls
  that take milliseconds, few descriptors, a file system that cannot be written to
"""

from __future__ import annotations

import errno
from functools import partial
from typing import Any

from support.simulation.strikes import ERRORS, Strike


class Calamities:
    """Those of one history.

    :param cast: who plays: has `world`, `disks` by name, `processes` by name, and `restart(name)`.
    """

    def __init__(self, cast: Any) -> None:
        self._cast = cast
        self._world = cast.world
        self._latency_before = cast.world.network.latency
        self.counts: dict[str, int] = {}
        self._is_calm = False

    def strike(self, kind: str, *arguments: Any) -> None:
        """Have something go wrong now."""
        if not self._is_calm:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            getattr(self, f'_{kind}')(*arguments)

    def calm(self) -> None:
        """Nothing goes wrong any more, and what does is over."""
        self._is_calm = True
        world = self._world
        self._cast.replication.calm()
        world.network.latency = self._latency_before
        world.faults.clear()
        for one in self._cast.processes:
            for other in self._cast.processes:
                world.network.heal(one, other)
        self._come_back()
        for name, process in self._cast.processes.items():
            if process.paused is not None:
                world.scheduler.resume(process)
            self._heal_disk(name)
            if process.dead:
                self._cast.restart(name)
        if self.counts.get('disk'):
            # a FileStorage that has failed to finish a transaction serves no more, see ZODB
            for name in self._cast.replication.servers:
                self._crash(name, 0.0, 'kill')

    def _reset(self, one: str, other: str | None, after: int) -> None:
        self._world.network.reset(one, other, after)

    def _flaky(self, name: str, pause: float, count: int, stop: float) -> None:
        if count and not self._is_calm:
            self._world.network.reset(name)
            if stop:
                self._world.later(stop, self._pause, name, pause / 2)
            self._world.later(pause, self._flaky, name, pause, count - 1, stop)

    def _cut(self, one: str, other: str, seconds: float) -> None:
        self._world.network.cut(one, other)
        self._world.later(seconds, self._world.network.heal, one, other)

    def _pause(self, name: str, seconds: float) -> None:
        if not self._is_calm:
            self._cast.processes[name].pause(seconds)

    def _crash(self, name: str, seconds: float, how: str) -> None:
        if self.crash(name, how):
            self._world.later(seconds, self._cast.restart, name)

    def crash(self, name: str, how: str) -> bool:
        """Have a process end, for good; return whether it has lived until now.

        :param how: ``kill``, or ``crash``: its machine loses its power.
        """
        process = self._cast.processes[name]
        if process.dead:
            return False
        process.crash()
        disk = self._cast.disks[name]
        disk.kill() if how == 'kill' else disk.crash(self._world.random)
        self._cast.crashed(name)
        return True

    def _promote(self, how: str, seconds: float, back: float) -> None:
        self._cast.replication.replace(how, seconds, back)

    def _stop(self, name: str, seconds: float, back: float) -> None:
        self._cast.stop(name, seconds, back)

    def _clock(self, name: str, seconds: float) -> None:
        self._cast.processes[name].jump_clock(seconds)

    def _fail(self, name: str, door: str, error: str, after: int, times: int) -> None:
        self._world.faults.fail(name, door, ERRORS[error], after, times)

    def _strike(self, name: str, call: str, error: str, after: int) -> None:
        self._world.faults.strike(Strike(name, call, error, after))

    def _latency(self, most: float, seconds: float) -> None:
        network = self._world.network
        network.latency = (0.0, most)
        self._world.later(seconds, setattr, network, 'latency', self._latency_before)

    def _power(self, name: str, changes: int, seconds: float, how: str) -> None:
        disk = self._cast.disks[name]
        disk.faults.when_cut = partial(self._crash, name, seconds, how)
        disk.power_off_at(changes)

    def _database(self, what: str, seconds: float) -> None:
        database = self._cast.store.database
        if what == 'lost':
            database.lose()
        else:
            database.go()
            self._world.later(seconds, self._come_back)

    def _come_back(self) -> None:
        database = self._cast.store.database
        if database is not None:
            database.come_back()

    def _disk(self, name: str, what: str, number: int, seconds: float) -> None:
        disk = self._cast.disks[name]
        faults = disk.faults
        if what == 'full':
            faults.room = number
        elif what == 'error':
            faults.failing[disk.calls + 1 + number] = errno.EIO
        elif what == 'slow':
            faults.delay = lambda kind: number / 1000
            faults.sleep = self._cast.processes[name].system.sleep
        elif what == 'files':
            faults.most_open = number
        else:
            faults.read_only = True
        self._world.later(seconds, self._heal_disk, name)

    def _heal_disk(self, name: str) -> None:
        faults = self._cast.disks[name].faults
        faults.room = faults.most_open = faults.delay = None
        faults.read_only = False
        faults.failing.clear()
        faults.last_change, faults.when_cut = 0, None
