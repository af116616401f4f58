"""The protocol of one connection, from its greeting to its end: bytes in, messages out.

Enters: the stream's bytes, in any split, through :meth:`buffer` and :meth:`received`. Leaves:
messages as :mod:`ZEO.wire.message` has them, in order, and the bytes of a greeting to be sent.
Fails: :class:`ProtocolError`, after which the stream is useless and the caller closes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ZEO.Exceptions import ProtocolError
from ZEO.wire import messages, runs, small_commits
from ZEO.wire.checks import MAX_PARTS
from ZEO.wire.frames import READ_SIZE, SIZE, FrameReader, frame
from ZEO.wire.message import Codec, Message

#: The frame by which a monitoring program asks for a server's status instead of saying hello.
PROBE = b'ruok'

#: Bytes of the longest frame from a server that can be a greeting.
_GREETING_SIZE = 64

_size_in = SIZE.unpack_from


class Probed(Exception):
    """The other side is a monitoring program that wants the status and nothing else."""


class _Session:
    """What both ends share."""

    def __init__(self, limit: int, scratch: memoryview | None) -> None:
        self._frames = FrameReader(limit, scratch)
        self.buffer = self._frames.buffer  # where the next bytes of the stream belong
        self.codec: Codec  # the protocol that was agreed upon, once both have said hello

    def close(self) -> None:
        """Accept nothing more."""
        self._frames.drop()


class ServerSession(_Session):
    """A server's side.

    :param protocol: the protocol that it offers, ``b'Z5'`` or ``b'M5'``.
    :param handshake_size: the largest frame, in bytes, before :meth:`registered` was called.
    :param message_size: the largest frame after that.
    :param scratch: memory to read into, which sessions of one thread may share.
    :param parts: the largest number of parts of a message.
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
        """Return the messages that are complete with `count` more bytes in the buffer.

        Several are an iterator: each is decoded when it is asked for, since that takes time as well
        as handling it does.

        :raises Probed: when the client wants the status only.
        :raises ProtocolError: when it breaks the protocol; the iterator raises that too.
        """
        decode = self._decode
        if decode is None:
            return self._greeted(count)
        frames = self._frames
        if frames.large is None and not frames.rest:
            scratch = frames.scratch
            if count - 4 == _size_in(scratch)[0] <= frames.limit:
                # exactly one frame, as mostly: as FrameReader.received has it, without a call
                return (decode(scratch[4:count].tobytes()),)
        found = frames.received_others(count)
        if len(found) == 1:
            return (found[0] if type(found[0]) is tuple else decode(found[0]),)
        if type(found) is tuple:  # a message that stands for all
            return (found,)
        if tuple in map(type, found):  # or for some
            return (one if type(one) is tuple else decode(one) for one in found)
        return map(decode, found) if found else ()

    def _greeted(self, count: int) -> Iterable[Message]:
        """The same while the greeting may not have come."""
        found = self._frames.received(count)
        if not found:
            return ()
        self._hello(bytes(found[0]))
        assert self._decode is not None
        return map(self._decode, found[1:]) if len(found) > 1 else ()

    @property
    def arrived(self) -> int:
        """How many bytes of an unfinished large message have arrived."""
        return self._frames.arrived

    def watch_memory(self, about_to_take: Callable[[int], None]) -> None:
        """Call a function with the bytes that a large message is about to take; with 0 when it is
        complete.
        """
        self._frames.watch = about_to_take

    def registered(self) -> None:
        """Accept larger messages: the client has registered."""
        self._frames.limit = self._message_size

    def _hello(self, data: bytes) -> None:
        if data == PROBE:
            raise Probed
        if data[:1] != self._protocol[:1]:
            raise ProtocolError(f'client answered {data[:20]!r} to the greeting {self._protocol!r}')
        self.codec = messages.codec(data)
        self.codec.most_parts = self._parts
        self._decode = self._first

    def _first(self, data: bytes | bytearray) -> Message:
        """Decode a message before register, or register itself: clients may send others right after
        it, which come here as well.
        """
        if self._decode == self.codec.decode_request:
            return self.codec.decode_request(data)
        message = self.codec.decode_first(data)
        if message[2] == 'register':
            self._decode = self.codec.decode_request
            if self.codec.name == b'Z5':
                self._frames.several = small_commits.read
                self._frames.run = runs.read
        return message


class ClientSession(_Session):
    """A client's side.

    :param message_size: the largest frame that is accepted, in bytes.
    """

    def __init__(self, message_size: int) -> None:
        super().__init__(_GREETING_SIZE, None)
        self._decode: Callable[[bytes | bytearray], Message] | None = None  # once it has
        self._message_size = message_size
        #: Takes what :meth:`received` takes, first: returns id, record and tid where that is the
        #: usual answer to a load and nothing else. Otherwise nothing has happened.
        self.loaded: Callable[[int], tuple[int, bytes, bytes] | None] = lambda count: None
        self.is_greeted = False  # whether the server has said which protocol it speaks
        self.answer = b''  # to be sent as soon as it is not empty: this end's part of the greeting

    def received(self, count: int) -> list[Message]:
        """Return the messages that are complete with `count` more bytes in the buffer.

        :raises ProtocolError: when the server breaks the protocol, or speaks another one.
        """
        decode = self._decode
        if decode is None:
            self._greeted(count)
            return []
        arrived = self.codec.read_arrived(self._frames, count)
        if arrived is not None:
            return arrived
        found = self._frames.received(count)
        return [decode(found[0])] if len(found) == 1 else [*map(decode, found)]

    def _greeted(self, count: int) -> None:
        try:
            found = self._frames.received(count)
        except ProtocolError:
            raise ProtocolError(
                'the peer is not a ZEO server: it did not send a ZEO greeting'
            ) from None
        if not found:
            return
        if len(found) > 1:
            raise ProtocolError('the server sent more before its greeting was answered')
        self.codec = messages.codec(bytes(found[0]))
        self.is_greeted = True
        self._decode = self.codec.decode
        self._frames.limit = self._message_size
        if self._message_size >= READ_SIZE:  # what comes in one read cannot be too large
            self.loaded = partial(self.codec.read_loaded_frame, self._frames)
        self.answer = frame(bytes(found[0]))


def status_report(report: dict[str, Any]) -> bytes:
    """Return the one frame that answers a probe."""
    return frame(json.dumps(report, default=str).encode('utf-8'))
