"""The loop's thread and other threads of the process, which want the interpreter as well.

Enters: how many of them work, and whether they compute. Leaves: settings that give the loop the
interpreter when it needs it, and the usual ones when nobody works any more. Fails: never; what the
system does not allow is left as it is.

Work such as a pack gives up the interpreter for moments only, to read a file. A loop that is woken
by that on another processor comes too late, again and again, for up to 100 ms. On the same one, and
with a higher priority, it is run at once; the interpreter does not let both run at a time anyway.
"""

from __future__ import annotations

from ZEO.net.system import System

#: Seconds after which a thread that computes gives way to the loop. The loop gives up the
#: interpreter at each of the half a dozen system calls of a load; with Python's 5 ms a pack would
#: add 30 ms to a load.
GIVE_WAY = 0.0002

#: How much nicer than the loop a computing thread is. On a processor that others want it still gets
#: a third of what they get.
NICER = 5


class Sharing:
    """What is done about the other threads; all in the loop's thread, but for :meth:`enter`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.threads = 0  # so many others work
        # between switches of threads when none does
        self._usual_interval = 0.0
        self._computing = 0  # so many of them compute
        self._processor: set[int] | None = None  # where they and the loop run
        # where the loop runs otherwise; None: it was not confined
        self._usual_processors: set[int] | None = None

    def begin(self, computes: bool) -> None:
        """A thread is about to start."""
        if self.threads == 0:
            self._usual_interval = self._system.switch_threads_every(GIVE_WAY)
        self.threads += 1
        if computes:
            if self._computing == 0:
                self._processor = self._system.processor()
                self._usual_processors = self._system.run_on(self._processor)
            self._computing += 1

    def enter(self, computes: bool) -> None:
        """To be called by that thread first of all; it has inherited the processors of the loop."""
        if computes:
            self._system.run_on(self._processor)
            self._system.lower_priority(NICER)
        else:
            self._system.run_on(self._usual_processors)

    def end(self, computes: bool) -> None:
        """It has ended."""
        self.threads -= 1
        if self.threads == 0:
            self._system.switch_threads_every(self._usual_interval)
        if computes:
            self._computing -= 1
            if self._computing == 0:
                self._system.run_on(self._usual_processors)
                self._processor = self._usual_processors = None
