"""What waits to be sent through a channel: pieces of data, and streams of chunks.

Enters: the pieces of a channel, and iterators of chunks. Leaves: pieces that are worth a send of
their own; chunks of all streams in turn. Fails: with what an iterator raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

#: Bytes up to which small pieces are joined into one send; larger ones are not copied.
_JOIN = 64 * 1024


class Unread:
    """Counts the bytes that wait in all channels of a server for clients that do not read.

    :param limit: bytes past which nothing more is read from those clients.
    """

    def __init__(self, limit: float = float('inf')) -> None:
        self.limit = limit
        self.total = 0


class Streams(list[Iterator[bytes]]):
    """The iterators of chunks of one channel, which take turns.

    A list, as what waits to be sent is one: a deque takes 760 bytes for each connection that is
    idle.
    """

    __slots__ = ()

    def pull(self) -> bytes | None:
        """Return the next chunk; None when all streams have ended."""
        while self:
            chunks = self.pop(0)
            chunk = next(chunks, None)
            if chunk is not None:
                self.append(chunks)
                return chunk
        return None

    def close(self, attempt: Callable[[Callable[[], Any]], Any]) -> None:
        """Drop all of them, and close those that are generators, so that they free their files.

        :param attempt: calls a function that may fail.
        """
        while self:
            close = getattr(self.pop(0), 'close', None)
            if close is not None:
                attempt(close)


def joined(out: list[Any]) -> Any:
    """Join the first piece with small ones after it, up to _JOIN bytes; return the first now."""
    if len(out[0]) >= _JOIN:
        return out[0]
    count = size = 0
    for piece in out:
        size += len(piece)
        if size > _JOIN:
            break
        count += 1
    out[:count] = (b''.join(out[:count]),)
    return out[0]
