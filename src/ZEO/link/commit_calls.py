"""The calls of which every commit consists, in fewer steps than other calls take.

Enters: what one transaction is to store. Leaves: messages, which leave together with the vote; the
answers to vote and tpc_finish. Fails: as all calls of a connection do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ZEO.link.outbox import Outbox, too_large
from ZEO.link.waiting import Waiting
from ZEO.wire.session import ClientSession
from ZEO.wire.shapes import is_tid, is_vote

#: Message ids are four bytes in the pickles of both sides.
IDS = 2**31


class CommitCalls(ABC):
    """Those of one connection.

    :param number: the number of the transaction, everywhere.
    """

    where: str
    largest: int
    _session: ClientSession
    _outbox: Outbox
    _ids: Iterator[int]

    @abstractmethod
    def _call(self, message_id: int, data: bytes, waiting: Waiting) -> Any:
        """Send the frame `data` of a call, and return the answer."""

    def send_begin(self, number: int, user: bytes, description: bytes, extension: Any) -> None:
        """Send the tpc_begin of a transaction that gets a new tid, soon."""
        self._put('tpc_begin', self._session.codec.begin(number, user, description, extension))

    def send_store(self, oid: bytes, serial: bytes, data: bytes, number: int) -> None:
        """Send a storea, soon."""
        self._put('storea', self._session.codec.store(oid, serial, data, number))

    def vote(self, number: int) -> Any:
        """Call vote, and return what the server answers."""
        message_id = next(self._ids) % IDS
        data = self._session.codec.vote(message_id, number)
        return self._call(message_id, data, Waiting('vote', None, False, is_vote))

    @staticmethod
    def finishing(applied: Callable[[Any], Any]) -> Waiting:
        """Return a tpc_finish to be called, with what makes the caller's result of the answer."""
        return Waiting('tpc_finish', applied, True, is_tid)

    def finish(self, number: int, waiting: Waiting) -> Any:
        """Call tpc_finish; return the caller's result.

        :param waiting: from :meth:`finishing`; says afterwards how far the call has come.
        """
        message_id = next(self._ids) % IDS
        data = self._session.codec.finish(message_id, number)
        return self._call(message_id, data, waiting)

    def _put(self, name: str, pieces: Sequence[bytes]) -> None:
        """Send a frame soon; the next call sends it at the latest."""
        size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        if size - 4 > self.largest:
            raise too_large(name, size - 4, self.largest, self.where)
        self._outbox.put(pieces, size)
