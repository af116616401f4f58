"""The frames of which a transaction of a client consists, except for its rarer calls.

Enters: the parts of a message. Leaves: its frame. Fails: never.

Both protocols make them the plain way; `Z5` by templates where it can, which spares a client three
picklers and half of the steps of Python that a small transaction takes to be sent.
"""

from __future__ import annotations

from typing import Any, Protocol

from ZEO.wire import templates, transaction_templates
from ZEO.wire.frames import frame, framed


class TransactionFrames(Protocol):
    """Makes them the plain way."""

    def call(self, message_id: int, name: str, args: tuple[Any, ...]) -> bytes:
        """Return the message that calls `name` and asks for an answer."""

    def send(self, name: str, args: tuple[Any, ...]) -> bytes:
        """Return the message that calls `name` one way."""

    def begin(
        self, number: int, user: bytes, description: bytes, extension: Any
    ) -> tuple[bytes, ...]:
        """Return the frame of a tpc_begin of a transaction that gets a new tid, in pieces."""
        return framed(self.send('tpc_begin', (number, user, description, extension, None, ' ')))

    def store(self, oid: bytes, serial: bytes, data: bytes, number: int) -> tuple[bytes, ...]:
        """Return the frame of a storea, in pieces."""
        return framed(self.send('storea', (oid, serial, data, number)))

    def vote(self, message_id: int, number: int) -> bytes:
        """Return the frame of a vote."""
        return frame(self.call(message_id, 'vote', (number,)))

    def finish(self, message_id: int, number: int) -> bytes:
        """Return the frame of a tpc_finish."""
        return frame(self.call(message_id, 'tpc_finish', (number,)))


class PickledFrames(TransactionFrames, Protocol):
    """Makes them by templates, where there is one."""

    def begin(
        self, number: int, user: bytes, description: bytes, extension: Any
    ) -> tuple[bytes, ...]:
        made = transaction_templates.begin(number, user, description, extension)
        return super().begin(number, user, description, extension) if made is None else (made,)

    def store(self, oid: bytes, serial: bytes, data: bytes, number: int) -> tuple[bytes, ...]:
        made = templates.store_frame(oid, serial, data, number)
        return super().store(oid, serial, data, number) if made is None else (made,)

    def vote(self, message_id: int, number: int) -> bytes:
        return transaction_templates.vote(message_id, number) or super().vote(message_id, number)

    def finish(self, message_id: int, number: int) -> bytes:
        return transaction_templates.finish(message_id, number) or super().finish(
            message_id, number
        )
