"""Calls that are begun now and waited for later, and all else that a thread waits for.

Enters: a call that its caller does not wait for; what arrives one day. Leaves: its result, once it
is asked for, in as many threads as ask. Fails: as all calls of a connection do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.commit_calls import IDS
from ZEO.link.outbox import Outbox
from ZEO.link.reader import Reader
from ZEO.link.waiting import News, PendingCall, SharedWaiting, Waiting
from ZEO.wire import shapes
from ZEO.wire.frames import frame
from ZEO.wire.session import ClientSession


class BegunCalls(ABC):
    """Those of one connection."""

    _session: ClientSession
    _outbox: Outbox
    _reader: Reader
    _ids: Iterator[int]
    _waiting: dict[int, Waiting]

    @abstractmethod
    def _check(self) -> None:
        """Raise ClientDisconnected when the connection has ended."""

    def begin(self, name: str, args: tuple[Any, ...], applied: Callable[[Any], Any]) -> PendingCall:
        """Call the server and do not wait; it leaves with the next call, or :meth:`flush`."""
        message_id = next(self._ids) % IDS
        data = frame(self._session.codec.call(message_id, name, args))
        waiting = SharedWaiting(name, applied, True, shapes.ANSWERS.get(name))
        self._waiting[message_id] = waiting
        try:
            self._outbox.put((data,), len(data))
        except ClientDisconnected:
            self._waiting.pop(message_id, None)
            raise
        return PendingCall(self.finish_waiting, waiting)

    def finish_waiting(self, waiting: SharedWaiting) -> Any:
        """Return the result of a call that was begun; raises what other calls raise."""
        if not waiting.done:
            self._follow(waiting)
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def _follow(self, shared: SharedWaiting) -> None:
        """Wait, beside other threads maybe, until a call that was begun is done.

        :raises ClientDisconnected: when the connection has ended before.
        """
        mine = Waiting(shared.name)
        shared.follow(mine)
        self.wait_for(mine)

    def wait_for(self, waiting: Waiting) -> None:
        """Return once something is done that what arrives brings about; read for all meanwhile.

        :raises ClientDisconnected: when the connection has ended before, or its time is over.
        """
        number = next(self._ids) % IDS
        try:
            self._waiting[number] = waiting  # so that this thread may be asked to read
            self._reader.wait_for(waiting)
        finally:
            self._waiting.pop(number, None)
        if waiting.error is not None:
            raise waiting.error

    def wait_for_news(self, news: News) -> None:
        """Read until `news` is done; the watcher does that as well, and lets calls go first.

        :raises ClientDisconnected: when the connection is lost.
        """
        number = next(self._ids) % IDS
        try:
            self._waiting[number] = news
            self._check()
            self._reader.wait_for(news)
        finally:
            self._waiting.pop(number, None)
        if news.error is not None:
            raise news.error
