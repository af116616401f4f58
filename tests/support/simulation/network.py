"""A simulated network: streams of bytes between processes, with everything that TCP allows.

Enters: what the product does with sockets, polls and epolls. Leaves: the bytes, in order, after a
latency, in pieces of any size. Fails: as the real ones do: connections that are refused, reset at
any byte, or silent for a while, buffers that are full, descriptors that were closed.

A link between two processes may be cut: nothing arrives until it is healed, then everything does,
as TCP repeats what was lost; after :data:`GIVE_UP` seconds both sides give the connection up.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Any

from support.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from support.simulation.sockets import Socket

#: Seconds after which a connection over a cut link ends: that of the keep-alive probes.
GIVE_UP = 135.0

#: Bytes that a direction holds, sent and not yet read.
ROOM = 256 * 1024

#: What travels beside bytes: the orderly end of a direction, and a reset.
FIN, RST = object(), object()


class Network:
    """All connections of a world.

    :ivar latency: seconds of one way, at least and at most.
    :ivar pieces: the share of sends and receives that take a part of what they could.
    :ivar room: bytes that a direction of a new connection holds.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.random = scheduler.random
        self.latency = (0.00005, 0.0005)
        self.pieces = 0.0
        self.room = ROOM
        self.trace: list[Any] | None = None
        self.connections: list[Connection] = []  # between processes, that have not ended
        self._listeners: dict[Any, Socket] = {}
        self._owners: dict[Any, str] = {}  # which process listens, or did last
        self._dark: set[str] = set()  # machines without power
        self._cuts: dict[frozenset[str], float] = {}  # since when
        self._ports = 40_000

    def delay(self) -> float:
        """Return the seconds that something takes one way."""
        low, high = self.latency
        return low + (high - low) * self.random.random()

    # Faults.

    def cut(self, one: str, other: str) -> None:
        """Let nothing through between two processes until :meth:`heal`."""
        pair = frozenset((one, other))
        if pair not in self._cuts:
            self._cuts[pair] = self.scheduler.now
            self.scheduler.later(GIVE_UP, self._give_up, pair, self.scheduler.now)

    def heal(self, one: str, other: str) -> None:
        """Let everything through again; what was sent meanwhile arrives late."""
        if self._cuts.pop(frozenset((one, other)), None) is not None:
            for connection in list(self.connections):
                for end in connection.ends:
                    end.out.resume()

    def is_cut(self, one: str, other: str) -> bool:
        """Return whether nothing gets through."""
        return bool(self._cuts) and frozenset((one, other)) in self._cuts

    def is_dark(self, name: str) -> bool:
        """Return whether the machine of a process has no power."""
        return name in self._dark

    def reset(self, one: str, other: str | None = None, after: int = 0) -> int:
        """Reset the connections between two processes, or all of one; return how many there were.

        :param after: bytes that each direction lets through before that.
        """
        found = [
            connection
            for connection in self.connections
            if one in connection.names and (other is None or other in connection.names)
        ]
        for connection in found:
            connection.reset(after)
        return len(found)

    def _give_up(self, pair: frozenset[str], since: float) -> None:
        if self._cuts.get(pair) == since:
            for connection in list(self.connections):
                if frozenset(connection.names) == pair:
                    connection.fail(errno.ETIMEDOUT)

    # For sockets.

    def listen(self, where: Any, listener: Socket) -> None:
        if where in self._listeners:
            raise OSError(errno.EADDRINUSE, 'Address already in use')
        self._listeners[where] = listener
        self._owners[where] = listener.process.name

    def listener(self, where: Any) -> Socket | None:
        return self._listeners.get(where)

    def owner_of(self, where: Any) -> str:
        """Return the name of the process that listens there, or did last."""
        return self._owners.get(where, '')

    def unlisten(self, listener: Socket) -> None:
        if self._listeners.get(listener.where) is listener:
            del self._listeners[listener.where]

    def port(self) -> int:
        """Return a port that no other socket has."""
        self._ports += 1
        return self._ports

    def process_ended(self, process: Any) -> None:
        """A kernel closes what a process has left open."""
        for file in list(process.files.values()):
            file.close()

    def machine_ended(self, process: Any) -> None:
        """Nothing closes what a process has left open: the other sides are not told."""
        self._dark.add(process.name)
        for file in list(process.files.values()):
            file.lose_power()

    def machine_began(self, name: str) -> None:
        """A machine has power again, and knows nothing of earlier connections."""
        self._dark.discard(name)


class Connection:
    """Two sockets, and the way between them."""

    def __init__(self, network: Network, ends: tuple[Socket, Socket]) -> None:
        self.network = network
        self.ends = ends
        self.names = tuple(end.process.name for end in ends)
        for end, other in (ends, ends[::-1]):
            end.connection, end.peer = self, other
            end.out = Pipe(network, end, other, self.is_local)
        if not self.is_local:
            network.connections.append(self)

    @property
    def is_local(self) -> bool:
        """Whether both ends are in one process."""
        return self.ends[0].process is self.ends[1].process

    def reset(self, after: int) -> None:
        """Reset it when one direction has let that many bytes through."""
        if not after:
            self.fail(errno.ECONNRESET)
        for end in self.ends:
            end.out.breaks_after = after

    def fail(self, code: int) -> None:
        """End it for both sides, with an error of the system."""
        for end in self.ends:
            end.fail(code)

    def ended(self) -> None:
        """One side has closed."""
        if all(end.closed for end in self.ends) and self in self.network.connections:
            self.network.connections.remove(self)


class Pipe:
    """One direction: what was sent, and has not arrived."""

    __slots__ = (
        'network',
        'source',
        'target',
        'is_local',
        'size',
        'room',
        'breaks_after',
        '_under_way',
        '_last',
        '_stalled',
    )

    def __init__(self, network: Network, source: Socket, target: Socket, is_local: bool) -> None:
        self.network = network
        self.source = source
        self.target = target
        self.is_local = is_local
        self.size = 0  # bytes under way, or arrived and not read
        self.room = network.room
        self.breaks_after: int | None = None  # bytes
        self._under_way: deque[Any] = deque()
        self._last = 0.0  # when the last of them arrives
        self._stalled = 0  # how many of them wait for a cut to be healed

    def push(self, data: Any) -> None:
        """Send bytes, or an end."""
        if self.is_local:
            self.target.arrived(data)
            return
        network = self.network
        if network.trace is not None:
            network.trace.append((network.scheduler.now, self.source.label, data))
        self._under_way.append(data)
        # connections overtake each other, but nothing is overtaken on one connection
        now = network.scheduler.now
        self._last = max(self._last, now + network.delay())
        network.scheduler.later(self._last - now, self._deliver)

    def _deliver(self) -> None:
        if not self._under_way:
            return
        source, target = self.source.process.name, self.target.process.name
        if self._stalled or self.network.is_cut(source, target):
            self._stalled += 1
            return
        self.target.arrived(self._under_way.popleft())

    def resume(self) -> None:
        """A cut was healed."""
        stalled, self._stalled = self._stalled, 0
        for _ in range(stalled):
            self.network.scheduler.later(self.network.delay(), self._deliver)

    def passed(self, data: bytes) -> bytes | None:
        """Return what gets through before the connection breaks; None if it does not break."""
        if self.breaks_after is None:
            return None
        if len(data) < self.breaks_after:
            self.breaks_after -= len(data)
            return None
        return data[: self.breaks_after]

    def clear(self) -> None:
        """Forget what is under way."""
        self._under_way.clear()
