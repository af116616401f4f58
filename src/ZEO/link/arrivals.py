"""What a server sends, applied message by message, in the order in which it came.

Enters: messages, by whichever thread reads, which holds the reader's lock. Leaves: results for the
calls that wait, whose callers wake; one-way messages, for the client's state. Fails: with what
strikes the thread; a message that could not be applied wholly ends the connection.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from ZEO.Exceptions import ClientDisconnected, ProtocolError, UnrecognizedResult
from ZEO.link.deadlines import Deadlines
from ZEO.link.waiting import Load, Waiting
from ZEO.wire import faults, shapes
from ZEO.wire.message import FAULT, REPLY, Message

log = logging.getLogger('ZEO.ClientStorage')


class Owner(Protocol):
    """What is needed of :class:`ZEO.link.connection.Connection`."""

    where: str
    who: str
    events: Any
    lost: ClientDisconnected | None

    def end(self, reason: str, cause: BaseException | None) -> None:
        """End the connection."""

    def disconnected(self) -> ClientDisconnected:
        """Return why it has ended, as a new exception."""


class Arrivals:
    """Those of one connection.

    :param waiting: message id -> the call whose answer has not come.
    """

    def __init__(
        self, connection: Owner, waiting: dict[int, Waiting], deadlines: Deadlines
    ) -> None:
        self._connection = connection
        self._waiting = waiting
        self._deadlines = deadlines

    def apply(self, message: Message) -> None:
        """Apply a message."""
        if self._connection.lost is not None:
            # what comes after a loss is not of the connection that the cache was checked for
            return
        message_id, flags, name, args = message
        if name == REPLY:
            waiting = self._waiting.pop(message_id, None) if type(message_id) is int else None
            if waiting is not None:
                self._settle(waiting, flags, args)
        else:
            if name[:11] == 'receiveBlob':
                self._deadlines.part_has_come()
            self._tell(name, args)

    def loaded(self, message_id: int, data: bytes, tid: bytes) -> None:
        """Apply the usual answer to a load, whose shape is known; :meth:`apply` would do the same
        in three times the steps.
        """
        if self._connection.lost is not None:  # as there
            return
        waiting = self._waiting.pop(message_id, None)
        if type(waiting) is not Load:  # a prefetch, or the server is mistaken
            if waiting is not None:
                self._settle(waiting, 0, (data, tid, None))
            return
        try:
            waiting.state.cache.store(waiting.oid, tid, None, data)
            waiting.result = data, tid, None
            waiting.done = True
        except BaseException as error:
            self._not_applied(waiting, error)
            raise
        if waiting.bell is not None:
            waiting.wake()

    def _tell(self, name: str, args: Any) -> None:
        connection = self._connection
        try:
            connection.events.on_message(name, args)
        except ProtocolError as error:
            connection.end(str(error), error)
        # It is not known how far it got: the connection ends, and the next one checks the cache.
        except BaseException as error:
            # first: there may be no memory for the log
            connection.end(f'{name} could not be applied: {error}', error)
            log.exception('%s: %s could not be applied', connection.who, name)
            if not isinstance(error, Exception):
                raise

    def _settle(self, waiting: Waiting, flags: Any, result: Any) -> None:
        connection = self._connection
        try:
            if flags == FAULT:
                waiting.error = faults.restore(result, connection.where)
            else:
                check = waiting.check
                if check is not None and not check(result):
                    shapes.answer(waiting.name, result, connection.where)  # which raises
                waiting.result = result if waiting.applied is None else waiting.applied(result)
            waiting.done = True
        except UnrecognizedResult as error:  # found out before anything was applied
            waiting.error = error
            waiting.done = True
        except ProtocolError as error:
            waiting.error = error
            self.fail(waiting)
            connection.end(str(error), error)
        except BaseException as error:
            self._not_applied(waiting, error)
            raise
        if waiting.bell is not None:
            waiting.wake()

    def _not_applied(self, waiting: Waiting, error: BaseException) -> None:
        """It is not known how far it got, and an error that was thrown into this thread is not one
        of the caller, which may be another.
        """
        self._connection.end(f'the answer to {waiting.name} could not be applied: {error!r}', error)
        self.fail(waiting)

    def fail(self, waiting: Waiting) -> None:
        """End a call whose answer will not come, with ClientDisconnected unless it has an error."""
        if not waiting.done:
            waiting.error = waiting.error or self._connection.disconnected()
            waiting.done = True
            waiting.wake()
