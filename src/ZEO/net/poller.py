"""Which of many files are ready.

Enters: file descriptors, each with the events to wait for. Leaves: those that are ready, as pairs
of descriptor and events. Fails: OSError for a descriptor that cannot be waited for.

Where the kernel has epoll it is called directly: :mod:`selectors` goes over its answer in Python,
which takes as long as receiving and decoding a message.
"""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from functools import partial
from typing import Protocol

#: What to wait for; the numbers are epoll's.
READ, WRITE = 1, 4

#: The other side has closed: for files that are not read now.  Only epoll reports it.
HANGUP = 0x2000

#: Files that are reported by one call; the others by the next.
_AT_ONCE = 1024


class Poller(Protocol):
    """The methods that the loop uses."""

    def register(self, fd: int, events: int) -> None:
        """Wait for these events of a file from now on."""

    def modify(self, fd: int, events: int) -> None:
        """Wait for these events instead."""

    def unregister(self, fd: int) -> None:
        """Forget a file."""

    #: Returns what :meth:`poll` does, without waiting.
    look: Callable[[], list[tuple[int, int]]]

    def poll(self, seconds: float | None) -> list[tuple[int, int]]:
        """Wait until a file is ready.

        :param seconds: how long to wait at most; None for no limit.
        :returns: pairs of descriptor and events; events beyond READ and WRITE mean that reading or
            writing will report an error.
        """

    def close(self) -> None:
        """Forget all files."""


class Epoll:
    """Linux's epoll."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        # no Python call: a loop looks often
        self.look: Callable[[], list[tuple[int, int]]] = partial(self._epoll.poll, 0, _AT_ONCE)

    def register(self, fd: int, events: int) -> None:
        self._epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def poll(self, seconds: float | None) -> list[tuple[int, int]]:
        return self._epoll.poll(seconds, _AT_ONCE)

    def close(self) -> None:
        self._epoll.close()


class Portable:
    """The best that another system has."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.look: Callable[[], list[tuple[int, int]]] = partial(self.poll, 0)

    def register(self, fd: int, events: int) -> None:
        if _to_selectors(events):  # a selector does not take files without events
            self._selector.register(fd, _to_selectors(events))

    def modify(self, fd: int, events: int) -> None:
        if fd in self._selector.get_map() and _to_selectors(events):
            self._selector.modify(fd, _to_selectors(events))
        else:
            self.unregister(fd)
            self.register(fd, events)

    def unregister(self, fd: int) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def poll(self, seconds: float | None) -> list[tuple[int, int]]:
        return [
            (
                key.fd,
                (ready & selectors.EVENT_READ and READ) | (ready & selectors.EVENT_WRITE and WRITE),
            )
            for key, ready in self._selector.select(seconds)
        ]

    def close(self) -> None:
        self._selector.close()


def _to_selectors(events: int) -> int:
    return (events & READ and selectors.EVENT_READ) | (events & WRITE and selectors.EVENT_WRITE)


def new_poller() -> Poller:
    """Return the fastest one that this system has."""
    return Epoll() if hasattr(select, 'epoll') else Portable()
