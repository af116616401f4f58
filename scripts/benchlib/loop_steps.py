"""runzeo that tells the longest steps of its loop: ``loop_steps.py FILE SWITCHES-OF-RUNZEO``.

Enters: where to write them when it ends. Leaves: lines of JSON, the longest first, each with the
milliseconds of CPU of the loop's thread in one step, those of them in the garbage collector, and
those in functions of which that is of interest. Fails: as runzeo does.

A step is one callback of the loop, or all that happens between two: what is freed then. CPU time is
told, since on a busy machine a step also waits for a processor. The thread's clock may count
nothing for some steps and the ticks of the system for others where the kernel has no better one.
"""

from __future__ import annotations

import gc
import importlib
import json
import runpy
import sys
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

#: Functions that are named within a step, with the milliseconds that they take without each other.
NAMED = """
    ZEO.serving.backends.grouping:GroupBackend.finish
    ZEO.serving.backends.hiding:HidingBackend._hold
    ZEO.serving.backends.hiding:HidingBackend._show
    ZEO.serving.backends.hiding:HidingBackend.abort
    ZEO.serving.backends.large:LargeBackend._abort
    ZEO.serving.backends.local:LocalBackend._advance
    ZEO.serving.backends.local:LocalBackend._finish
    ZEO.serving.backends.recent:Records.changed
    ZEO.serving.clients:Clients._send
    ZEO.serving.commit.log:CommitLog.close
    ZEO.serving.commit.state:Commit.release
    ZEO.serving.grouped:GroupedFileStorage._finish
    ZEO.serving.grouped:GroupedFileStorage._put_over
    ZEO.serving.grouped:GroupedFileStorage.merge
    ZEO.serving.grouped:GroupedFileStorage.tpc_vote
    ZEO.serving.few_calls:FewCallsFileStorage._clear_temp
    ZEO.serving.few_calls:FewCallsFileStorage._note_tids
    ZEO.serving.hosted:HostedStorage._note
    ZEO.serving.invalidations:Invalidations.add
    ZEO.serving.peer:Peer.handle
    ZEO.serving.peer:Peer.closed
    ZEO.serving.many:Freeing._step
    ZEO.serving.clients:Clients.send_big
    ZODB.BaseStorage:BaseStorage.tpc_abort
    ZODB.FileStorage.FileStorage:FileStorage.tpc_finish
    ZODB.fsIndex:fsIndex.update
""".split()

#: Steps that are told, and seconds from which on one is looked at.
TOLD, LOOKED_AT = 10, 0.005

_clock = time.thread_time


class Longest:
    """The longest of many, which are made only where they are among them."""

    def __init__(self) -> None:
        self._found: list[tuple[float, int, dict[str, Any]]] = []
        self._count = 0

    def add(self, took: float, tell: Callable[[], dict[str, Any]]) -> None:
        """Note one that took some seconds."""
        found = self._found
        if took > LOOKED_AT and (len(found) < TOLD or took > found[-1][0]):
            self._count += 1
            found.append((took, self._count, tell()))
            found.sort(key=lambda one: (-one[0], one[1]))
            del found[TOLD:]

    def lines(self, what: str) -> list[str]:
        """Return each as a line of JSON."""
        return [json.dumps({what: _ms(took), **told}) for took, _, told in self._found]


class Steps:
    """Those of one loop, in whose thread all methods are called."""

    def __init__(self) -> None:
        self._steps, self._rounds, self._lasting = Longest(), Longest(), Longest()
        self._collections, self._collected, self._count = Longest(), 0.0, 0
        self._within: dict[str, float] = {}  # seconds of named functions
        self._inner = [0.0]  # seconds of named functions within each one that is under way
        self._gc = self._gc_began = 0.0
        self._is_under_way = False
        self._number = 0  # of steps in this round
        self.begin()

    def begin(self) -> None:
        """A wait has ended: a round of the loop begins."""
        self._woke = self._ended = _clock()
        self._number, self._last = 0, 'a wait'

    def step(self, name: Callable[[], str], function: Callable[..., Any], *args: Any) -> Any:
        """Measure one, unless it is within another."""
        if self._is_under_way:
            return function(*args)
        self._is_under_way, began, wall = True, _clock(), time.perf_counter()
        self._note(began - self._ended, lambda: f'between, after {self._last}')
        try:
            return function(*args)
        finally:
            self._is_under_way, self._ended, self._number = False, _clock(), self._number + 1
            took, lasted = self._ended - began, time.perf_counter() - wall
            self._lasting.add(lasted, lambda: {'cpu': _ms(took), 'what': name()})
            self._note(took, name)
            if took > LOOKED_AT:
                self._last = name()

    def waited(self, wait: Callable[..., Any], *args: Any) -> Any:
        """Wait for files; what that takes is no step, but for a look within one."""
        if self._is_under_way:
            return wait(*args)
        now = _clock()
        self._note(now - self._ended, lambda: f'between, after {self._last}')
        self._rounds.add(now - self._woke, lambda: {'steps': self._number})
        try:
            return wait(*args)
        finally:
            self.begin()

    def named(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is measured within a step."""

        @wraps(function)
        def measured(*args: Any, **options: Any) -> Any:
            if not self._is_under_way:
                return function(*args, **options)
            self._inner.append(0.0)
            began = _clock()
            try:
                return function(*args, **options)
            finally:
                took = _clock() - began
                own = took - self._inner.pop()
                self._inner[-1] += took
                self._within[name] = self._within.get(name, 0.0) + own

        return measured

    def collecting(self, phase: str, info: dict[str, Any]) -> None:
        """Note what the garbage collector takes."""
        if phase == 'start':
            self._gc_began = _clock()
        else:
            took = _clock() - self._gc_began
            self._gc += took
            self._collected, self._count = self._collected + took, self._count + 1
            self._collections.add(took, lambda: {'generation': info['generation']})

    def _note(self, took: float, name: Callable[[], str]) -> None:
        self._steps.add(took, lambda: {'gc': _ms(self._gc), 'what': name(), **self._named()})
        self._within.clear()
        self._inner[:] = [0.0]
        self._gc = 0.0

    def _named(self) -> dict[str, float]:
        return {where: _ms(own) for where, own in self._within.items() if own > 0.001}

    def write(self, path: str) -> None:
        """Write the longest."""
        lines = (
            *self._steps.lines('step'),
            *self._rounds.lines('round')[:3],
            *self._lasting.lines('lasted')[:3],
            *self._collections.lines('collection')[:3],
            json.dumps(
                {'collections': self._count, 'ms': _ms(self._collected), 'cpu': _ms(_clock())}
            ),
        )
        Path(path).write_text('\n'.join(lines) + '\n')


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 1)


def _name(function: Any) -> str:
    while isinstance(function, partial):
        # what a file's callback is, once it is changed
        inner = function.args[0] if function.args else None
        function = inner.args[0] if isinstance(inner, partial) else function.func
    return getattr(function, '__qualname__', repr(function))


def measure(path: str) -> None:
    """Have every loop of this process measured, of which there is one."""
    from ZEO.net.loop import Loop

    steps = Steps()
    add, change, attempt = Loop.add, Loop.change, Loop.attempt
    init = Loop.__init__

    def measured(callback: Any) -> Any:
        return partial(steps.step, partial(_name, callback), callback)

    def new_init(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        poller = self._poller
        poller.look = partial(steps.waited, poller.look)
        poller.poll = partial(steps.waited, poller.poll)

    Loop.__init__ = new_init  # type: ignore[method-assign]
    Loop.add = lambda self, file, events, callback: add(  # type: ignore[method-assign]
        self, file, events, measured(callback)
    )
    Loop.change = lambda self, file, events, callback: change(  # type: ignore[method-assign]
        self, file, events, measured(callback)
    )
    Loop.attempt = lambda self, function: steps.step(  # type: ignore[method-assign]
        partial(_name, function), attempt, self, function
    )
    for place in NAMED:
        module, _, rest = place.partition(':')
        owner, _, name = rest.partition('.')
        cls = getattr(importlib.import_module(module), owner)
        if name in vars(cls):
            setattr(cls, name, steps.named(rest, vars(cls)[name]))
    gc.callbacks.append(steps.collecting)
    run = Loop.run

    def new_run(self: Any) -> None:
        steps.begin()
        try:
            run(self)
        finally:  # before the storages are closed, which may take long
            steps.write(path)

    Loop.run = new_run  # type: ignore[method-assign]


if __name__ == '__main__':
    del sys.path[0]  # this directory
    measure(sys.argv.pop(1))
    runpy.run_module('ZEO.runzeo', run_name='__main__', alter_sys=True)
