"""Poll briefly before blocking: waking up costs more than waiting for an answer that is near.

Enters: a function that looks for events without waiting. Leaves: the events that it found; if there
are none, the caller blocks until there are. Fails: with what the function raises.

Waking up takes a process 5 to 50 microseconds, and waking it takes the other one about as long,
which is more than the work on a load; both are saved when the other side answers meanwhile. Polling
pauses where it does not help: when nothing arrives in time, and when other threads or processes
want the processor, which each look offers them. On a single processor it is not tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ZEO.net.system import System

Event = TypeVar('Event')

#: Looks before blocking, about 400 microseconds. In that time a server answers most calls, such as
#: a commit to a fast disk, and a client makes the next one.
LOOKS = 256

#: Seconds; after a longer look, another process has had the processor, or another thread the
#: interpreter.
CONTENDED = 20e-6

#: The most waits that sleep at once after looks that found nothing; their cost, spread over these,
#: is next to nothing.
MOST_RESTED = 63


class BusyPoll:
    """Decides for one waiting thread whether it looks before it blocks."""

    def __init__(self, system: System) -> None:
        self._now = system.now
        self._give_way = system.give_way
        self._alone = system.processors() < 2  # no other process can answer meanwhile
        self._rests = 0  # how many waits sleep at once from now on
        self._penalty = 0  # the last value of _rests; doubled when looks find nothing again

    def poll(self, look: Callable[[], list[Event]]) -> list[Event]:
        """Return the events that `look` finds within a moment, or none."""
        if self._alone:
            return []
        if self._rests:
            self._rests -= 1
            return []
        penalty, contended = self._penalty, False
        before = self._now()
        for _ in range(LOOKS):
            events = look()
            if events:  # even if the look was long: it may be the other side that had the processor
                self._penalty = penalty >> 1
                return events
            if contended:
                penalty = 2 * penalty + 1
                break
            self._give_way()
            now = self._now()
            contended = now - before > CONTENDED
            before = now
        self._penalty = self._rests = min(2 * penalty + 1, MOST_RESTED)
        return []
