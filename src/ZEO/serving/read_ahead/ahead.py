"""Records that one client is sent ahead of its own asking.

Enters: the loads of the client, as they are answered, and what it says it has used. Leaves:
messages behind the answers: first the oids of what will follow, together with the answer, then the
records. Fails: never; a record that cannot be read now is not sent.

What is sent is the current revision at its place in the stream, as it is in an answer: it is read
and sent in one go in the loop's thread, and what changes it later is sent later. Nothing is read in
the way of an answer, except for the look at what a record refers to, which takes microseconds.

Of a storage that is on a network, other threads fetch what is not at hand, one fetch at a time for
a client. What has come is then read like everything else: what has changed meanwhile is not there.

An oid that was named is always followed up: by the record, or by an empty one where it does not
come, since the client waits for it instead of asking.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from ZODB.utils import z64

from ZEO.net.channel import Channel
from ZEO.net.loop import Loop
from ZEO.serving.invalidations import Invalidations
from ZEO.serving.read_ahead.guesses import LIFE, Guesses, Named
from ZEO.serving.read_ahead.sent import Sent
from ZEO.serving.read_ahead.shared import SharedAhead
from ZEO.serving.read_ahead.source import Found, Source
from ZEO.serving.read_ahead.window import ROOM, Window
from ZEO.wire.frames import frame
from ZEO.wire.message import Codec

#: Oids that are named at a time, and bytes of records in one message.
_AT_ONCE, _MESSAGE = 64, 32 * 1024

#: Bytes of a record that is not sent: the client can do better things with its network.
_LARGE = 32 * 1024

#: The same of a record of a group of which none was used yet: what is sent and not used is paid for
#: by what is not sent later.
_LARGE_GUESS = 4 * 1024

#: Bytes that wait for the client and are not sent yet, above which nothing is sent ahead.
_BACKLOG = 64 * 1024

#: Seconds of reading, after which the other clients are served.
_TURN = 0.001

#: Seconds of a look at the records that a client says it has used, which are dozens: of all others
#: it is only counted that they were used.
_LOOK = 0.005

#: Seconds after which what was fetched is given up: a client that waits for it asks for it then.
_LONGEST_FETCH = 0.5


class Ahead:
    """The read-ahead of one client.

    :param source: where the records come from.
    """

    def __init__(
        self,
        shared: SharedAhead,
        source: Source,
        invalidations: Invalidations,
        channel: Channel,
        codec: Codec,
        loop: Loop,
    ) -> None:
        self._shared = shared
        self._source = source
        self._read = source.at_hand
        self._invalidations = invalidations
        self._channel = channel
        self._codec = codec
        self._loop = loop
        self._window = Window(shared.figures)
        self._sent = Sent()
        self._as_of = invalidations.newest  # the last transaction that _sent takes into account
        self._guesses = Guesses(shared, source, self._sent)
        self._coming: deque[Named] = deque()  # what was named, and not sent yet
        self._fetching: list[Named] = []  # what was named, and is being fetched
        self._timer: Any = None  # of that
        self._fetched: set[bytes] = set()  # of _coming, what is not fetched once more
        self._due = False  # whether the loop will call _push
        self._room = 0  # records for which there is room behind the last load
        self._bytes_left = 0.0  # that may be sent before the client wants another object
        shared.figures.clients += 1

    def close(self) -> None:
        """The client is gone."""
        self._shared.figures.clients -= 1
        self._coming.clear()
        self._fetching = []

    # What the client does.

    def asks(self, oid: bytes) -> None:
        """The client asks for an object, and will be answered later."""
        if self._window.closed:
            return
        if self._as_of != self._invalidations.newest:
            self._catch_up()
        if self._sent.add(oid):
            self._asks_again(oid)
            self._source.used([oid])

    def loaded(self, oid: bytes, found: Found, announced: bool = False) -> None:
        """The client was sent the answer to a load; name what will follow it.

        :param announced: whether :meth:`asks` was called.
        """
        window = self._window
        if window.closed:
            window.closed -= 1
            return
        data, _, end = found
        sent = self._sent
        window.loaded(len(data))
        if self._as_of != self._invalidations.newest:
            self._catch_up()
        guesses = self._guesses
        guesses.wanted(oid)
        if end is not None:  # not what it would load from a later snapshot
            if announced:
                sent.discard((oid,))
            return
        if not announced and sent.add(oid):
            self._asks_again(oid)
        guesses.asked(oid)
        guesses.has(oid, data)
        guesses.goes_on()
        self._room, self._bytes_left = ROOM, window.bytes_left(True)
        if not self._coming and not self._fetching:
            self._name()

    def _asks_again(self, oid: bytes) -> None:
        """The client has asked for what it was sent, or has had."""
        group = self._window.asked(oid)
        if group is None:
            self._sent.forget_near(oid)
            self._sent.add(oid)
        else:
            self._guesses.counts(group)
            self._guesses.looks_behind(oid, group)

    def used(self, oids: list[bytes]) -> None:
        """The client has used what it was sent: go on from there."""
        window, guesses = self._window, self._guesses
        if self._as_of != self._invalidations.newest:
            self._catch_up()
        most = guesses.step + LIFE // 2
        now = self._loop.system.now
        until = now() + _LOOK
        for oid in oids:
            group = window.used(oid)
            if group is not None:
                guesses.wanted(oid)
                guesses.counts(group)
                if now() <= until:
                    guesses.looks_behind(oid, group)
                    found = self._read(oid)
                    if found is not None:
                        guesses.has(oid, found[0])
        guesses.step = min(guesses.step, most)
        guesses.goes_on()
        self._source.used(oids)
        window.grow()
        self._bytes_left = max(self._bytes_left, window.bytes_left(False))
        # a load may come right behind this, and is not to be sent twice
        self._push_soon()

    def _catch_up(self) -> None:
        """Forget that the client was sent what has changed since."""
        invalidations = self._invalidations
        changes = invalidations.since(self._as_of, invalidations.newest)
        if changes is None:
            self._sent.clear()
        else:
            self._sent.discard(changes[1])
        self._as_of = invalidations.newest

    def _choose(self) -> list[Named]:
        """Take as many candidates as there is room for."""
        window = self._window
        room = min(_AT_ONCE, window.room(self._room)) if self._bytes_left > 0 else 0
        chosen = self._guesses.take(room, window.share)
        if len(chosen) < room:
            most = min(room - len(chosen), window.deep)
            deeper = self._guesses.take_deeper(most, window.share)
            window.take_deep(len(deeper))
            chosen += deeper
        self._room = max(0, self._room - len(chosen))
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
            self._loop.soon(self._push)
            self._due = True

    def _push(self) -> None:
        """Send what was named, some of it at a time."""
        self._due = False
        coming, channel = self._coming, self._channel
        if channel.is_closed:
            return
        if channel.unsent > _BACKLOG or self._window.closed:
            self._give_up()
            return
        records, missing = self._records()
        named = [] if coming or missing or self._fetching else self._choose()
        if records or named:
            self._send(records, named)
        coming.extend(named)
        if missing:
            self._fetch(missing)
        if coming and not self._due and not self._is_stuck():
            self._loop.next_turn(self._push)
            self._due = True

    def _records(self) -> tuple[list[tuple[bytes, bytes, bytes]], list[Named]]:
        """Read the next of what was named, and take what that refers to for later; return that, and
        what has to be fetched.
        """
        coming, fetched = self._coming, self._fetched
        now = self._loop.system.now
        size, until = 0, now() + _TURN
        records: list[tuple[bytes, bytes, bytes]] = []
        missing: list[Named] = []
        read: list[tuple[bytes, bytes]] = []  # the large ones as well: they may be nodes of a BTree
        while coming and size < _MESSAGE and not self._is_stuck():
            oid, group = coming.popleft()
            over = self._bytes_left <= 0
            found = None if over else self._read(oid)
            if found is None and not over and self._may_fetch(oid):
                missing.append((oid, group))
            elif found is None or len(found[0]) > (_LARGE if group.used else _LARGE_GUESS):
                records.append((oid, b'', z64))
                if over or found is not None or self._source.fetches:  # else there is none
                    self._sent.discard((oid,))
                if found is not None:
                    read.append((oid, found[0]))
            else:
                records.append((oid, *found[:2]))
                read.append((oid, found[0]))
                size += len(found[0])
                self._bytes_left -= len(found[0])
                self._window.sent(oid, len(found[0]), group)
            fetched.discard(oid)
            if now() > until:
                break
        for oid, data in reversed(read):  # what follows the first is likelier
            self._guesses.was_sent(oid, data)
        return records, missing

    def _give_up(self) -> None:
        """Tell the client not to wait for what was named."""
        oids = [oid for oid, _ in self._coming]
        self._sent.discard(oids)
        records = [(oid, b'', z64) for oid in oids]
        self._coming.clear()
        self._fetched.clear()
        if records:
            self._send(records, [])

    # Fetching.

    def _may_fetch(self, oid: bytes) -> bool:
        return oid not in self._fetched and self._source.fetches

    def _is_stuck(self) -> bool:
        """Whether the next record has to be fetched, and others are being fetched."""
        if not self._fetching or self._coming[0][0] in self._fetched:
            return False
        return self._read(self._coming[0][0]) is None

    def _fetch(self, missing: list[Named]) -> None:
        self._fetching = missing
        over = partial(self._have_come, missing)
        self._timer = self._loop.later(_LONGEST_FETCH, over)
        self._source.fetch([oid for oid, _ in missing], over)

    def _have_come(self, fetched: list[Named]) -> None:
        """Send what was being fetched, as far as it has come, before all else."""
        if self._fetching is fetched:  # else it was given up before
            self._fetching = []
            self._timer.cancel()
            self._fetched.update(oid for oid, _ in fetched)
            self._coming.extendleft(reversed(fetched))
            self._push_soon()

    def _send(self, records: list[tuple[bytes, bytes, bytes]], named: list[Named]) -> None:
        message = records, [oid for oid, _ in named]
        self._channel.send(frame(self._codec.send('readAhead', message)))
