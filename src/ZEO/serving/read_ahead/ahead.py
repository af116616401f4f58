"""Records that one client is sent ahead of its own asking.

Enters: the loads of the client, as they are answered, and what it says it has used. Leaves:
messages behind the answers: first the oids of what will follow, together with the answer, then the
records. Fails: never; a record that cannot be read now is not sent.

What is sent is the current revision at its place in the stream, as it is in an answer: it is read
and sent in one go in the loop's thread, and what changes it later is sent later. Nothing is read in
the way of an answer, but for the look at what a record refers to, which takes microseconds.

An oid that was named is always followed up: by the record, or by an empty one where it does not
come, since the client waits for it instead of asking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ZODB.utils import maxtid, z64

from ZEO.net.channel import Channel
from ZEO.net.loop import ENDS, Loop
from ZEO.serving.invalidations import Invalidations
from ZEO.serving.read_ahead.candidates import Candidates, Group
from ZEO.serving.read_ahead.sent import Sent
from ZEO.serving.read_ahead.shared import SharedAhead
from ZEO.serving.read_ahead.window import ROOM, Window
from ZEO.wire.frames import frame
from ZEO.wire.likely_references import likely_references
from ZEO.wire.messages import Codec

Found = tuple[bytes, bytes, Any]  # data, tid, end tid or None

#: Objects that a client wants, after which it is not likely to want what follows one that it has
#: wanted before; and what follows one that it was sent before and has not used.
_LIFE, _DEEP_LIFE = 12, 8

#: Oids that are named at a time, and bytes of records in one message.
_AT_ONCE, _MESSAGE = 64, 32 * 1024

#: Bytes of a record that is not sent: the client can do better things with its network.
_LARGE = 32 * 1024

#: Bytes that wait for the client and are not sent yet, above which nothing is sent ahead.
_BACKLOG = 64 * 1024

#: Seconds of reading, after which the other clients are served.
_TURN = 0.001


class Ahead:
    """The read-ahead of one client.

    :param load_now: the storage's loadBefore.
    """

    def __init__(
        self,
        shared: SharedAhead,
        load_now: Callable[[bytes, bytes], Found | None],
        invalidations: Invalidations,
        channel: Channel,
        codec: Codec,
        loop: Loop,
    ) -> None:
        self._shared = shared
        self._load_now = load_now
        self._invalidations = invalidations
        self._channel = channel
        self._codec = codec
        self._loop = loop
        self._window = Window(shared.figures)
        self._sent = Sent()
        self._as_of = invalidations.newest  # the last transaction that _sent takes into account
        self._last: bytes | None = None  # what the client has loaded last
        # what follows what the client has, the likeliest first; and what follows what it was sent
        self._candidates = Candidates(_LIFE)
        self._deeper = Candidates(_DEEP_LIFE)
        self._step = 0  # how many objects the client has wanted
        self._coming: deque[tuple[bytes, Group]] = deque()  # what was named, and not sent yet
        self._due = False  # whether the loop will call _push
        self._room = 0  # records for which there is room behind the last load
        self._bytes_left = 0.0  # that may be sent before the client wants another object
        shared.figures.clients += 1

    def close(self) -> None:
        """The client is gone."""
        self._shared.figures.clients -= 1
        self._coming.clear()

    # What the client does.

    def loaded(self, oid: bytes, found: Found) -> None:
        """The client was sent the answer to a load; name what will follow it."""
        window = self._window
        if window.closed:
            window.closed -= 1
            return
        data, _, end = found
        sent = self._sent
        window.loaded(len(data))
        if self._as_of != self._invalidations.newest:
            self._catch_up()
        self._follow(oid)
        if end is not None:  # not what it would load from a later snapshot
            return
        if sent.add(oid):
            group = window.asked(oid)
            if group is None:
                sent.forget_near(oid)
                sent.add(oid)
            else:
                self._likely(group)
        self._add_first(oid, data)
        self._room, self._bytes_left = ROOM, window.bytes_left(True)
        if not self._coming:
            self._name()

    def used(self, oids: Iterable[bytes]) -> None:
        """The client has used what it was sent: go on from there."""
        window = self._window
        if self._as_of != self._invalidations.newest:
            self._catch_up()
        for oid in oids:
            group = window.used(oid)
            if group is not None:
                self._follow(oid)
                self._likely(group)
                found = self._read(oid)
                if found is not None:
                    self._add_first(oid, found[0])
        window.grow()
        self._bytes_left = max(self._bytes_left, window.bytes_left(False))
        # a load may come right behind this, and is not to be sent twice
        self._push_soon()

    def _follow(self, oid: bytes) -> None:
        if self._last is not None and self._last != oid:
            self._shared.learnt.learn(self._last, oid)
        self._last = oid
        self._step += 1

    def _catch_up(self) -> None:
        """Forget that the client was sent what has changed since."""
        invalidations = self._invalidations
        changes = invalidations.since(self._as_of, invalidations.newest)
        if changes is None:
            self._sent.clear()
        else:
            self._sent.discard(changes[1])
        self._as_of = invalidations.newest

    # What it will want.

    def _next(self, oid: bytes, data: bytes) -> list[bytes]:
        """Return what follows an object, and was not sent."""
        sent = self._sent
        likely = [*self._shared.learnt.after(oid), *likely_references(data)]
        return [one for one in likely if one not in sent]

    def _add_first(self, oid: bytes, data: bytes) -> None:
        self._candidates.put(self._step, self._next(oid, data))

    def _likely(self, group: Group) -> None:
        """One of a group was used: the others are likely as well."""
        group.used += 1
        self._deeper.used(self._step, group)
        self._candidates.used(self._step, group)

    def _choose(self) -> list[tuple[bytes, Group]]:
        """Take as many candidates as there is room for."""
        window = self._window
        room = min(_AT_ONCE, window.room(self._room)) if self._bytes_left > 0 else 0
        chosen = self._take(self._candidates, room)
        if len(chosen) < room:
            deeper = self._take(self._deeper, min(room - len(chosen), window.deep))
            window.take_deep(len(deeper))
            chosen += deeper
        self._room = max(0, self._room - len(chosen))
        return chosen

    def _take(self, candidates: Candidates, most: int) -> list[tuple[bytes, Group]]:
        sent, step, share = self._sent, self._step, self._window.share
        chosen: list[tuple[bytes, Group]] = []
        while len(chosen) < most:
            found = candidates.take(step, share)
            if found is None:
                break
            if not sent.add(found[0]):
                chosen.append(found)
        return chosen

    # Sending.

    def _name(self) -> None:
        """Say what will be sent, and send it when all that arrived was answered."""
        if self._channel.unsent > _BACKLOG:
            return
        chosen = self._choose()
        if chosen:
            self._send([], chosen)
            self._coming.extend(chosen)
            self._push_soon()

    def _push_soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.soon(self._push)

    def _push(self) -> None:
        """Send what was named, some of it at a time."""
        self._due = False
        coming, channel = self._coming, self._channel
        if channel.is_closed:
            return
        if channel.unsent > _BACKLOG or self._window.closed:
            self._give_up()
            return
        records = self._records()
        named = [] if coming else self._choose()
        if records or named:
            self._send(records, named)
        coming.extend(named)
        if coming:
            self._due = True
            self._loop.next_turn(self._push)

    def _records(self) -> list[tuple[bytes, bytes, bytes]]:
        """Read the next of what was named, and take what that refers to for later."""
        coming, window = self._coming, self._window
        now = self._loop.system.now
        size, until = 0, now() + _TURN
        records: list[tuple[bytes, bytes, bytes]] = []
        while coming and size < _MESSAGE:
            oid, group = coming.popleft()
            over = self._bytes_left <= 0
            found = None if over else self._read(oid)
            if found is None or len(found[0]) > _LARGE:
                records.append((oid, b'', z64))
                if over:
                    self._sent.discard((oid,))
            else:
                data, tid, _ = found
                records.append((oid, data, tid))
                size += len(data)
                self._bytes_left -= len(data)
                window.sent(oid, len(data), group)
                self._deeper.put(self._step, self._next(oid, data))
            if now() > until:
                break
        return records

    def _give_up(self) -> None:
        """Tell the client not to wait for what was named."""
        oids = [oid for oid, _ in self._coming]
        self._sent.discard(oids)
        records = [(oid, b'', z64) for oid in oids]
        self._coming.clear()
        if records:
            self._send(records, [])

    def _read(self, oid: bytes) -> Found | None:
        """Return the current record of an object; None if it cannot be read."""
        try:
            found = self._load_now(oid, maxtid)
        except ENDS:
            raise
        except BaseException:  # the client has not asked for it, and gets the error when it does
            return None
        return found if found is not None and found[2] is None else None

    def _send(
        self, records: list[tuple[bytes, bytes, bytes]], named: list[tuple[bytes, Group]]
    ) -> None:
        message = records, [oid for oid, _ in named]
        self._channel.send(frame(self._codec.send('readAhead', message)))
