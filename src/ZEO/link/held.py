"""One-way messages of a server that come before they may be applied.

Enters: messages, in the order in which they came. Leaves: the same, later. Fails: ProtocolError for
a server that sends more than :data:`MOST` in that time.

Before a server has answered ``register``, an invalidation would move the client past all that it
has missed; while the cache is checked, what comes is newer than the check.
"""

from __future__ import annotations

from typing import Any

from ZEO.Exceptions import ProtocolError

#: Bytes of messages that are held back, at most: the oids of two million objects, more than the
#: commits of the seconds that registering and a cache check take.
MOST = 128 * 2**20

#: Bytes that each object takes in memory besides its contents, roughly.
_OVERHEAD = 48


class HeldMessages:
    """Keeps messages, up to a bound."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, Any]] = []
        self._size = 0  # bytes, roughly

    def add(self, name: str, args: Any) -> None:
        """Keep a message.

        :raises ProtocolError: when there are too many; none of them is kept then.
        """
        self._size += _OVERHEAD + _size(args)
        if self._size > MOST:
            self._messages = []
            raise ProtocolError(
                f'the server sent {self._size:,} bytes of messages while this client registered '
                f'and checked its cache; {MOST:,} are accepted'
            )
        self._messages.append((name, args))

    def take(self) -> list[tuple[str, Any]]:
        """Return all messages, in the order in which they came, and keep none."""
        messages, self._messages = self._messages, []
        self._size = 0
        return messages


def _size(value: Any) -> int:
    """Return the bytes that plain data takes; how deep it is nested was checked on arrival."""
    if isinstance(value, (bytes, str)):
        return _OVERHEAD + len(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _OVERHEAD + sum(map(_size, value))
    if isinstance(value, dict):
        return _OVERHEAD + sum(map(_size, value)) + sum(map(_size, value.values()))
    return _OVERHEAD
