"""How the loop's thread and worker threads share the interpreter.

Enters: the start and end of each worker, and whether it computes. Leaves: settings that give the
loop the interpreter when it needs it, and the usual ones when no worker runs any more, or the loop
has ended. Fails: never; what the system does not allow is left as it is.

Work such as a pack releases the interpreter only for moments, to read a file. A loop that is woken
by that on another processor comes too late, again and again, for up to 100 ms. On the same
processor, and with a higher priority, it runs at once; only one of the two can run Python code at a
time anyway.
"""

from __future__ import annotations

from ZEO.net.system import System

#: How much is added to the nice value of a thread that computes. On a processor that others want
#: it still gets a third of what they get.
NICER = 5


class InterpreterSharing:
    """Counts the workers, and changes settings for the first and after the last.

    Called in the loop's thread, except for :meth:`enter` and :meth:`close`.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self.threads = 0  # workers that run
        self._is_quick = False  # whether threads switch often for this loop
        self._computing = 0  # workers that compute
        self._processor: set[int] | None = None  # where they and the loop run
        # where the loop runs otherwise; None: it was not confined
        self._usual_processors: set[int] | None = None

    def begin(self, computes: bool) -> None:
        """Note that a worker is about to start."""
        if self.threads == 0:
            self._system.begin_quick_switches()
            self._is_quick = True
        self.threads += 1
        if computes:
            if self._computing == 0:
                self._processor = self._system.processor()
                self._usual_processors = self._system.run_on(self._processor)
            self._computing += 1

    def enter(self, computes: bool) -> None:
        """Set up the worker that calls this first; it has inherited the processors of the loop."""
        if computes:
            self._system.run_on(self._processor)
            self._system.lower_priority(NICER)
        else:
            self._system.run_on(self._usual_processors)

    def end(self, computes: bool) -> None:
        """Note that a worker has ended."""
        self.threads -= 1
        if self.threads == 0:
            self.close()
        if computes:
            self._computing -= 1
            if self._computing == 0:
                self._run_anywhere()

    def leave(self) -> None:
        """The loop ends, and its thread goes on with something else; workers may still run."""
        self._run_anywhere()
        self.close()

    def close(self) -> None:
        """Have threads switch as usual, as far as this loop wants; from any thread."""
        if self._is_quick:
            self._system.end_quick_switches()
            self._is_quick = False

    def _run_anywhere(self) -> None:
        self._system.run_on(self._usual_processors)
        self._processor = self._usual_processors = None
