"""Records of an MVCC storage that clients will ask for next, most likely: one thread reads them.

Enters: oids, each for a client. Leaves: their current records in memory, as far as they can be read
soon. Fails: never; what is not read is asked for.

The thread has a connection of its own, so that no load waits for it. What has changed between its
snapshot and now, as clients were sent, is not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import StorageError
from ZODB.utils import maxtid

from ZEO.net.loop import Loop
from ZEO.serving.backends.instances import Instances
from ZEO.serving.backends.reading import MOST_AT_ONCE, Found, Load, ReadingThread
from ZEO.serving.backends.view import View
from ZEO.serving.workers import Client


class Guesses:
    """Those for all clients; all in the loop's thread, except for the reading itself.

    :param keep: called with an object id and its current record.
    :param batch: bytes that are read for one client at a time.
    """

    def __init__(
        self,
        instances: Instances,
        view: View,
        loop: Loop,
        keep: Callable[[bytes, Found], None],
        batch: int,
    ) -> None:
        self._view = view
        self._loop = loop
        self._keep = keep
        self._waiting: dict[Load, None] = {}  # the oldest first
        self._is_reading = False
        self.reader = ReadingThread(instances, view, loop, self._done, batch)

    def add(self, oids: list[bytes], client: Client, over: Callable[[], None]) -> None:
        """Read the current records of objects, and call `over` when they are kept, or not; what
        waits for this client is not read any more.
        """
        self.forget(client)
        guess = Load(oids[:MOST_AT_ONCE], maxtid, client, False, self._loop.system.now())
        guess.answer.then(lambda _: over(), lambda _: over())
        self._waiting[guess] = None
        self._give()

    def forget(self, client: Client) -> None:
        """Drop those for a client that is gone."""
        for guess in [guess for guess in self._waiting if guess.client is client]:
            self._give_up(guess)

    def _give_up(self, guess: Load) -> None:
        self._waiting.pop(guess, None)
        guess.answer.answer(None)

    def _give(self) -> None:
        """Have the thread read what waits, if it is free."""
        if self._is_reading or not self._waiting:
            return
        guesses: list[Load] = []
        objects = 0
        for guess in list(self._waiting):
            objects += len(guess.oids)
            if guesses and objects > MOST_AT_ONCE:
                break
            del self._waiting[guess]
            guesses.append(guess)
        try:
            self.reader.take(guesses)
            self._is_reading = True
        except StorageError:  # no thread: they will be asked for
            for guess in guesses:
                self._give_up(guess)

    def _done(
        self, reader: ReadingThread, results: list[tuple[Load, Any, bytes]], resets: int
    ) -> None:
        """In the loop's thread: what was read, each with the snapshot that it comes from."""
        self._is_reading = False
        for guess, found, snapshot in results:
            if type(found) is list and resets == self._view.resets:
                for oid, record in zip(guess.oids, found, strict=False):
                    self._take(oid, record, snapshot)
            self._loop.attempt(partial(self._give_up, guess))
        self._give()

    def _take(self, oid: bytes, record: Any, snapshot: bytes) -> None:
        """Keep a record, if it is the current one that clients may see."""
        view = self._view
        if type(record) is not tuple or record[2] is not None or record[1] > view.last:
            return
        if not view.is_behind(oid, snapshot):
            self._keep(oid, record)
