"""Telling clients when the part changes that a server has for its storage.

Enters: a hosted storage. Leaves: an ``info`` to all its clients, within a second. Fails: never. All
in the loop's thread; only a replica is looked at.
"""

from __future__ import annotations

from typing import Protocol

from ZEO.net.loop import Loop
from ZEO.serving.info import role

#: Seconds between two looks: clients that prefer followers leave one that has lost its primary a
#: few seconds later.
LOOK = 1.0


class Hosted(Protocol):
    """A :class:`~ZEO.serving.hosted.HostedStorage`."""

    loop: Loop

    def tell_role(self) -> None:
        """Send all clients which part this server has."""


class RoleWatch:
    """That of one storage; does nothing for one that never was a replica."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted
        self._told = role(hosted)
        if self._told:
            self._look_later()

    def _look_later(self) -> None:
        self._hosted.loop.later(LOOK, self._look)

    def _look(self) -> None:
        now = role(self._hosted)
        if now != self._told:
            self._told = now
            self._hosted.tell_role()
        self._look_later()
