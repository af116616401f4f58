"""Connections that have not registered: they have a share of their own, so that they keep no one
else out.

Enters: each new connection, with the source that it comes from. Leaves: which one has to go for it,
if any. Fails: never.

An honest client registers within a round trip or two, and a stranger who says nothing stays for as
long as he is let. So it is the oldest connection that goes when there are too many: of those of the
newcomer's source where that has too many, else of the source that has most. Newcomers are never
kept out by connections that have not registered, wherever these come from.
"""

from __future__ import annotations

from typing import Protocol

from ZEO.serving.limits import Limits


class Stranger(Protocol):
    """What has to be known of a connection."""

    @property
    def is_registered(self) -> bool:
        """Whether it is none any more."""


class Strangers:
    """Those of one server, by their source, in the order in which they came."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of: dict[str, dict[Stranger, None]] = {}
        self._count = 0  # with those that have registered since it was looked last

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
        """Return the one that has to go before another comes in.

        :param is_local: whether that is of this machine, where a proxy or many processes may be one
            source.
        :param is_full: whether there is no place for it otherwise.
        """
        if not is_local and len(self._of.get(source, ())) >= self._limits.strangers_from_one:
            self._look_again(source)
            group = self._of.get(source, {})
            if len(group) >= self._limits.strangers_from_one:
                return next(iter(group))
        if is_full or self._count >= self._limits.strangers:
            for one in list(self._of):
                self._look_again(one)
            if self._of and (is_full or self._count >= self._limits.strangers):
                most = max(self._of, key=lambda one: len(self._of[one]))
                return next(iter(self._of[most]))
        return None

    def _look_again(self, source: str) -> None:
        """Forget those that have registered."""
        for stranger in [one for one in self._of.get(source, ()) if one.is_registered]:
            self.discard(stranger, source)
