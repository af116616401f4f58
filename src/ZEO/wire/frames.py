"""Bytes <-> sized frames.

Enters: the bytes of a stream, in any split, written by the caller into the buffer that
:meth:`FrameReader.buffer` lends. Leaves: whole frames, in order. Fails: :class:`FrameTooLarge` as
soon as a frame announces more than the limit.

A frame is a 4-byte unsigned big-endian length and that many bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from ZEO.Exceptions import ProtocolError

SIZE = Struct('>I')

#: Bytes that one read from a socket may return; several hundred messages of the usual size.
READ_SIZE = 256 * 1024

#: Bytes; an incomplete frame that is larger gets memory of its own, which is reported to
#: :attr:`FrameReader.watch`. Smaller ones are not counted: a stranger may have one as well.
UNCOUNTED = 64 * 1024

#: Bytes. A large frame's memory grows with what has arrived, never with what was announced, since
#: an announcement costs its sender nothing.
FIRST_GROWTH = 1024 * 1024

#: Bytes. The memory doubles at first; later it grows by steps that are small in comparison, since
#: memory that is not filled yet is wasted.
MOST_GROWTH = 32 * 1024 * 1024


#: Bytes; larger data is sent as a piece of its own, since joining it with others would copy it.
LARGE = 32 * 1024


class FrameTooLarge(ProtocolError):
    """A frame announces more bytes than the limit allows."""


def frame(message: bytes) -> bytes:
    """Return `message` with its length in front."""
    return SIZE.pack(len(message)) + message


def framed(message: bytes) -> tuple[bytes, ...]:
    """Return `message` with its length in front, in pieces if it is large, to save a copy."""
    return (frame(message),) if len(message) < LARGE else (SIZE.pack(len(message)), message)


class FrameReader:
    """Cuts one stream into frames.

    :param limit: the largest frame that is accepted, in bytes; may be changed at any time.
    :param scratch: memory to read into; readers that are used in turn by one thread may share it.
    """

    def __init__(self, limit: int, scratch: memoryview | None = None) -> None:
        self.limit = limit
        self.scratch = memoryview(bytearray(READ_SIZE)) if scratch is None else scratch
        # what templates.read_loaded_frame looks at besides `scratch`; only this class sets them:
        # an incomplete frame of at most UNCOUNTED bytes, and its length
        self.rest = b''
        # an incomplete frame that is larger, without its length
        self.large: bytearray | None = None
        self._filled = 0  # bytes of `large` that have arrived
        self._announced = 0  # bytes of `large` in the end
        self._lent: memoryview | None = None  # the view on `large` that was lent last
        #: Called with the bytes that a large frame is about to take, before it grows, and with 0
        #: when it is complete.
        self.watch: Callable[[int], None] | None = None
        #: Given all that has come where that may be several frames; the tuple that it returns,
        #: unless it is None, stands for them.
        self.several: Callable[[bytes], tuple[Any, ...] | None] | None = None
        #: Given data and where a frame begins in it: returns a tuple that stands for that frame and
        #: others behind it, and where the last of them ends; or None.
        self.run: Callable[[bytes, int], tuple[tuple[Any, ...], int] | None] | None = None

    @property
    def arrived(self) -> int:
        """How many bytes of a large frame have arrived; 0 if there is none."""
        return 0 if self.large is None else self._filled

    def buffer(self) -> memoryview:
        """Return the memory that the next bytes of the stream belong in; then call
        :meth:`received`.
        """
        if self.large is None:
            return self.scratch
        if self._filled == len(self.large):
            self._grow()
        self._lent = memoryview(self.large)[self._filled :]
        return self._lent

    def received(self, count: int) -> list[Any] | tuple[Any, ...]:
        """Note that `count` bytes were written into the lent buffer.

        :returns: the frames that are complete now, often none, as bytes or a bytearray, or tuples
            that stand for some; or a tuple that stands for all.
        :raises FrameTooLarge: when a frame announces more than the limit.
        """
        scratch = self.scratch
        if (
            self.large is None
            and not self.rest
            and count - 4 == SIZE.unpack_from(scratch)[0] <= self.limit
        ):
            # exactly one frame, the most frequent case
            return [scratch[4:count].tobytes()]
        return self.received_others(count)

    def received_others(self, count: int) -> list[Any] | tuple[Any, ...]:
        """The same for what is not exactly one frame of less than READ_SIZE bytes."""
        if self.large is not None:
            return self._received_large(count)
        scratch = self.scratch
        if self.rest:
            return self._split(b''.join((self.rest, scratch[:count])))  # one copy
        data = scratch[:count].tobytes()
        several = self.several
        if several is not None and count <= self.limit:
            found = several(data)
            if found is not None:
                return found
        return self._split(data)

    def drop(self) -> None:
        """Free the memory of an incomplete frame: the stream has ended, but this object may not."""
        self.large = self._lent = self.watch = self.several = self.run = None
        self.rest = b''

    def _received_large(self, count: int) -> list[bytes | bytearray]:
        assert self.large is not None
        if self._lent is not None:
            self._lent.release()  # a bytearray cannot grow while there is a view on it
            self._lent = None
        self._filled += count
        if self._filled < self._announced:
            if self._filled == len(self.large) and self.watch is not None:
                self.watch(self._next_size())
            return []
        whole, self.large = self.large, None
        if self.watch is not None:
            self.watch(0)
        return [whole]

    def _split(self, data: bytes) -> list[Any]:
        frames: list[Any] = []
        start, end = 0, len(data)
        run = self.run if end <= self.limit else None  # none of its frames is too large
        while end - start >= 4:
            found = run(data, start) if run is not None else None
            if found is not None:
                several, start = found
                frames.append(several)
                continue
            (size,) = SIZE.unpack_from(data, start)
            if size > self.limit:
                raise FrameTooLarge(
                    f'a message of {size} bytes, when at most {self.limit} are accepted'
                )
            stop = start + 4 + size
            if stop > end:
                if size > UNCOUNTED:
                    self._begin_large(data, start + 4, size)
                    return frames
                break
            frames.append(data[start + 4 : stop])
            start = stop
        self.rest = data[start:] if start < end else b''
        return frames

    def _begin_large(self, data: bytes, start: int, size: int) -> None:
        self.large = bytearray(memoryview(data)[start:])
        self._filled = len(self.large)
        self._announced = size
        self.rest = b''
        if self.watch is not None:
            self.watch(self._next_size())

    def _grow(self) -> None:
        assert self.large is not None
        size = self._next_size()
        if size <= 2 * FIRST_GROWTH:
            # copying what has arrived takes less time than making zeros twice
            grown = bytearray(size)
            grown[: self._filled] = self.large
            self.large = grown
        else:
            self.large.extend(bytes(size - self._filled))

    def _next_size(self) -> int:
        """Return the size that the memory of a large frame will have next."""
        return min(
            self._announced, self._filled + min(max(self._filled, FIRST_GROWTH), MOST_GROWTH)
        )
