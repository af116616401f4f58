"""Bound the connections that have not registered, so that they keep no other client out.

Enters: each new connection, with the source that it comes from. Leaves: the connection that is to
be closed for it, if any. Fails: never.

An honest client registers within a round trip or two; a stranger that says nothing stays as long as
it is allowed to. So the oldest connection is closed when there are too many: the oldest from the
newcomer's source if that has too many, else the oldest from the source that has most. Connections
that have not registered never keep a newcomer out, wherever they come from.
"""

from __future__ import annotations

from typing import Protocol

from ZEO.serving.limits import Limits


class Stranger(Protocol):
    """What is known of a connection."""

    @property
    def is_registered(self) -> bool:
        """Whether it has registered, and is no stranger any more."""

    def close(self, reason: str) -> None:
        """End the connection."""


class Strangers:
    """The strangers of one server, by source, in the order in which they came."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._of: dict[str, dict[Stranger, None]] = {}
        self._count = 0  # including those that have registered since the last look

    def add(self, stranger: Stranger, source: str) -> None:
        """A connection has come in."""
        self._of.setdefault(source, {})[stranger] = None
        self._count += 1

    def discard(self, stranger: Stranger, source: str) -> None:
        """A connection has ended."""
        group = self._of.get(source)
        if group is not None and stranger in group:
            del group[stranger]
            self._count -= 1
            if not group:
                del self._of[source]

    def one_too_many(self, source: str, is_local: bool, is_full: bool) -> Stranger | None:
        """Return the connection that is to be closed before another comes in.

        :param source: where the new one comes from.
        :param is_local: whether that is this machine, where a proxy or many processes may be one
            source.
        :param is_full: whether there is no place for it otherwise.
        """
        if not is_local and len(self._of.get(source, ())) >= self.limits.strangers_from_one:
            self._look_again(source)
            group = self._of.get(source, {})
            if len(group) >= self.limits.strangers_from_one:
                return next(iter(group))
        if is_full or self._count >= self.limits.strangers:
            for one in list(self._of):
                self._look_again(one)
            if self._of and (is_full or self._count >= self.limits.strangers):
                most = max(self._of, key=lambda one: len(self._of[one]))
                return next(iter(self._of[most]))
        return None

    def _look_again(self, source: str) -> None:
        """Forget those that have registered."""
        for stranger in [one for one in self._of.get(source, ()) if one.is_registered]:
            self.discard(stranger, source)
