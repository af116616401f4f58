"""Looking again a few times before sleeping: what is about to come is not worth being woken for.

Enters: a function that looks without waiting. Leaves: what it found; where that is nothing, the
caller sleeps until there is something. Fails: with what the function raises.

To be woken takes a process 5 to 50 microseconds, and the one that wakes it about as long, which is
more than the work on a load; both are saved when the other side answers meanwhile. It is given up
for a while wherever it does not help: when nothing comes in time, and when others want the
processor, which each look offers them; on a single processor it is not tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ZEO.net.system import System

Event = TypeVar('Event')

#: Looks before sleeping: some 400 microseconds, in which a server answers most calls, a commit to a
#: fast disk among them, and a client makes the next one.
LOOKS = 256

#: Seconds for one look after which somebody else has had the processor, or this process's other
#: threads the interpreter.
CONTENDED = 20e-6

#: The most waits that sleep at once after looks that were in vain; their cost, spread over these,
#: is next to nothing.
MOST_RESTED = 63


class BusyPoll:
    """Decides for one waiting thread whether it looks before it sleeps."""

    def __init__(self, system: System) -> None:
        self._now = system.now
        self._give_way = system.give_way
        self._alone = system.processors() < 2  # no other process can answer meanwhile
        self._rests = 0  # how many waits sleep at once from now on
        self._penalty = 0  # what _rests was last; the next time in vain doubles it

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
            if events:  # also when it was just the other side that has had the processor meanwhile
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
