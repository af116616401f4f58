"""The protocol of one connection, from its greeting to its end: bytes in, messages out.

Enters: the stream's bytes, in any split, through :meth:`buffer` and :meth:`received`. Leaves:
messages as of :mod:`ZEO.wire.messages`, in order, and the bytes of a greeting to be sent. Fails:
:class:`ProtocolError`, after which the stream is worth nothing and the caller closes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ZEO.Exceptions import ProtocolError
from ZEO.wire import messages
from ZEO.wire.checks import MAX_PARTS
from ZEO.wire.frames import FrameReader, frame
from ZEO.wire.messages import Codec, Message

#: The frame by which a monitoring program asks for a server's status instead of saying hello.
PROBE = b'ruok'

#: A frame of a server's that is longer can't be a greeting.
_GREETING_SIZE = 64


class Probed(Exception):
    """The other side is a monitoring program that wants the status and nothing else."""


class _Session:
    """What both ends share."""

    def __init__(self, limit: int, scratch: memoryview | None) -> None:
        self._frames = FrameReader(limit, scratch)
        self.buffer = self._frames.buffer  # where the next bytes of the stream belong
        self.codec: Codec  # the protocol that was agreed upon, once both have said hello

    def close(self) -> None:
        """Take in no more."""
        self._frames.drop()


class ServerSession(_Session):
    """A server's side.

    :param protocol: the protocol that it offers, ``b'Z5'`` or ``b'M5'``.
    :param handshake_size: the largest frame, in bytes, before :meth:`registered` was called.
    :param message_size: the largest frame after that.
    :param scratch: memory to read into, which sessions of one thread may share.
    :param parts: of which the largest message is made.
    """

    def __init__(
        self,
        protocol: bytes,
        handshake_size: int,
        message_size: int,
        scratch: memoryview | None = None,
        parts: int = MAX_PARTS,
    ) -> None:
        super().__init__(handshake_size, scratch)
        self._protocol = protocol
        self._message_size = message_size
        self._parts = parts
        self._decode: Callable[[bytes | bytearray], Message] | None = None
        self.greeting = frame(protocol)  # to be sent first of all

    def received(self, count: int) -> Iterable[Message]:
        """Take note of `count` bytes in the buffer; return the messages that are complete now.

        Several are an iterator: each is decoded when it is asked for, which costs time as well as
        handling it does.

        :raises Probed: when the other side wants the status only.
        :raises ProtocolError: when it breaks the protocol; the iterator does that too.
        """
        found = self._frames.received(count)
        if self._decode is None:
            if not found:
                return ()
            self._hello(bytes(found.pop(0)))
        decode = self._decode
        assert decode is not None
        if len(found) == 1:
            return (decode(found[0]),)
        return map(decode, found) if found else ()

    @property
    def arrived(self) -> int:
        """How many bytes of an unfinished large message have arrived."""
        return self._frames.arrived

    def watch_memory(self, about_to_take: Callable[[int], None]) -> None:
        """Have a function told of the memory that a large message is about to take, and of 0 when
        it is complete.
        """
        self._frames.watch = about_to_take

    def registered(self) -> None:
        """The client has told who it is and was accepted: larger messages may come."""
        self._frames.limit = self._message_size

    def _hello(self, data: bytes) -> None:
        if data == PROBE:
            raise Probed
        if data[:1] != self._protocol[:1]:
            raise ProtocolError(f'it answered {data[:20]!r} to the greeting {self._protocol!r}')
        self.codec = messages.codec(data)
        self.codec.most_parts = self._parts
        self._decode = self._first

    def _first(self, data: bytes | bytearray) -> Message:
        """Decode a message before register, and that: clients may send others right behind it,
        which come here as well.
        """
        if self._decode == self.codec.decode_request:
            return self.codec.decode_request(data)
        message = self.codec.decode_first(data)
        if message[2] == 'register':
            self._decode = self.codec.decode_request
        return message


class ClientSession(_Session):
    """A client's side.

    :param message_size: the largest frame that is accepted, in bytes.
    """

    def __init__(self, message_size: int) -> None:
        super().__init__(_GREETING_SIZE, None)
        self._decode: Callable[[bytes | bytearray], Message] | None = None  # once it has
        self._message_size = message_size
        self.is_greeted = False  # whether the server has said which protocol it speaks
        self.answer = b''  # to be sent as soon as it is not empty: this end's part of the greeting

    def received(self, count: int) -> list[Message]:
        """Take note of `count` bytes in the buffer; return the messages that are complete now.

        :raises ProtocolError: when the server breaks the protocol, or speaks another one.
        """
        decode = self._decode
        if decode is None:
            self._greeted(count)
            return []
        found = self._frames.received(count)
        return [decode(found[0])] if len(found) == 1 else [*map(decode, found)]

    def _greeted(self, count: int) -> None:
        try:
            found = self._frames.received(count)
        except ProtocolError:
            raise ProtocolError(
                'what listens there is no ZEO server: it sent no greeting of one'
            ) from None
        if not found:
            return
        if len(found) > 1:
            raise ProtocolError('the server went on before it was answered')
        self.codec = messages.codec(bytes(found[0]))
        self.is_greeted = True
        self._decode = self.codec.decode
        self._frames.limit = self._message_size
        self.answer = frame(bytes(found[0]))


def status_report(report: dict[str, Any]) -> bytes:
    """Return the one frame that answers a probe."""
    return frame(json.dumps(report, default=str).encode('utf-8'))
