"""What a message is, and what makes one of a frame.

Enters: what was decoded of a frame. Leaves: a message of the right shape. Fails:
:class:`ProtocolError` for anything else.

A message is the tuple ``(message id, flags, name, args)``. The name ``.reply`` marks an answer:
`args` is the result, or with flags 2 the fault ``(class name, args)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ZEO.Exceptions import ProtocolError
from ZEO.wire.frames import FrameReader
from ZEO.wire.plain import is_plain
from ZEO.wire.transaction_frames import TransactionFrames

Message = tuple[Any, Any, str, Any]

REPLY = '.reply'
FAULT = 2  # the flags of a reply that holds a fault
KEEP_ALIVE_ID = -1


class Codec(TransactionFrames, Protocol):
    """Encodes and decodes the messages of a protocol."""

    name: bytes
    most_parts: int  # of a request

    def decode(self, data: bytes | bytearray) -> Message:
        """Return the message in `data`, for a client.

        :raises ProtocolError: when it is malformed.
        """

    def decode_request(self, data: bytes | bytearray) -> Message:
        """Return the message in `data`, for a server, which trusts its peer less.

        :raises ProtocolError: when it is malformed.
        """

    def decode_first(self, data: bytes | bytearray) -> Message:
        """Return the message in `data` of a client that has not registered.

        :raises ProtocolError: when it is malformed.
        """

    def chunk(self, data: bytes) -> Sequence[bytes]:
        """Return the frame that brings part of a blob, in pieces."""

    def load_before(self, message_id: int, oid: bytes, tid: bytes) -> bytes:
        """Return the frame of ``call(message_id, 'loadBefore', (oid, tid))``, on the hot path."""

    def read_loaded_frame(self, frames: FrameReader, count: int) -> tuple[int, bytes, bytes] | None:
        """Return id, record and tid of the usual answer to a load, where that is all that has come;
        on the hot path.
        """

    def read_arrived(self, frames: FrameReader, count: int) -> list[Message] | None:
        """Return the messages where all that has come is what others have changed and what mostly
        ends a transaction.
        """

    def info(self, figures: dict[str, Any]) -> bytes:
        """Return the message ``send('info', (figures,))``, as after each commit."""

    def reply(self, message_id: Any, result: Any) -> bytes:
        """Return the answer to the call with this id."""

    def voted(self, message_id: Any, /) -> bytes:
        """Return the frame of ``reply(message_id, [])``, for a small commit.

        :param message_id: an :class:`EchoedId`.
        """

    def committed(self, message_id: Any, tid: bytes, figures: dict[str, Any], /) -> bytes | None:
        """Return the frames of ``info(figures)`` and ``reply(message_id, tid)`` if there is a
        template for both.

        :param message_id: an :class:`EchoedId`.
        """

    def loaded(
        self, message_id: Any, data: bytes, tid: bytes, end: bytes | None
    ) -> Sequence[bytes]:
        """Return the frame of ``reply(message_id, (data, tid, end))``, for the hot path."""

    def failure(self, message_id: Any, error: BaseException) -> bytes:
        """Return the answer that describes `error`."""


def checked(message: Any) -> Message:
    """Return `message` if it has the shape of a message.

    :raises ProtocolError: if it has not.
    """
    if type(message) is tuple and len(message) == 4 and type(message[2]) is str:
        return message
    if type(message) is list and len(message) == 4 and type(message[2]) is str:
        return tuple(message)
    raise ProtocolError('a message that is not (id, flags, name, args)')


def requested(message: Any) -> Message:
    """Return `message` if it has the shape of a request, whose id can be sent back.

    :raises ProtocolError: if it has not.
    """
    if (
        type(message) is tuple
        and len(message) == 4
        and type(message[2]) is str
        and type(message[0]) is int
    ):
        return message  # as mostly: a third of the bytecodes of what follows
    message = checked(message)
    if type(message[0]) is not int and not is_plain(message[0]):
        raise ProtocolError('a message whose id is not plain data')
    return message


class EchoedId(bytes):
    """A message id as it was encoded: a server only sends it back, so it need not decode it.

    Messages with such an id were read by a template, so their arguments are well-formed.
    """


#: The id of a one-way message that was read by a template.
FROM_TEMPLATE = EchoedId(b'K\0')
