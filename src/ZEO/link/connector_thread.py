"""The thread that looks for a server: one at most, whenever it is needed.

Enters: the work, and whether it is needed. Leaves: a running thread. Fails: ClientDisconnected when
no thread can be started.

The thread may be torn away by an exception at any bytecode, also before it has begun, and at the
very moment in which it is needed again. So nothing but the thread itself says whether it is still
there, and a caller that needs it starts it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ZEO.Exceptions import ClientDisconnected
from ZEO.locks import under
from ZEO.net.system import System

log = logging.getLogger('ZEO.ClientStorage')


class ConnectorThread:
    """Starts the thread, unless it is there.

    :param who: how lines of the log begin.
    :param work: what it does; returns when it is not needed any more.
    :param is_needed: whether there is work.
    :param afterwards: is called when it has left its place to another thread.
    :param lock: is held by who changes what `is_needed` looks at.
    """

    def __init__(
        self,
        who: str,
        work: Callable[[], None],
        is_needed: Callable[[], bool],
        afterwards: Callable[[], None],
        lock: Any,
        system: System,
    ) -> None:
        self._who = who
        self._work = work
        self._is_needed = is_needed
        self._afterwards = afterwards
        self._lock = lock
        self._system = system
        self._thread: Any = None  # unless it has ended

    @property
    def is_running(self) -> bool:
        """Whether the thread is at work."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Start the thread, where it is needed and not there.

        :raises ClientDisconnected: when that is not possible; the next call tries again.
        """
        try:
            under(self._lock, self._start)
        except RuntimeError as error:
            raise ClientDisconnected(
                f'no connection, and no thread can be started to make one: {error}'
            ) from error

    def try_to_start(self) -> None:
        """Start the thread, or log why that is not possible now."""
        try:
            self.start()
        except ClientDisconnected as error:
            log.warning('%s: %s', self._who, error)

    def _start(self) -> None:
        if self._is_needed() and not self.is_running:
            self._thread = self._system.spawn('ZEO connector', self._run)

    def _run(self) -> None:
        if under(self._lock, self._take_over):
            try:
                self._work()
            finally:
                if under(self._lock, self._leave):
                    # since a moment ago, when this thread still seemed to be at it
                    self.try_to_start()
                self._afterwards()

    def _take_over(self) -> bool:
        """Become the thread, unless another one is."""
        me = self._system.current_thread()
        if self._thread is not me and self.is_running:
            return False
        self._thread = me
        return True

    def _leave(self) -> bool:
        """Leave the place to another thread; return whether one is needed."""
        self._thread = None
        return self._is_needed()
