"""Exceptions that strike a thread of an application within a call of its storage.

Enters: the calls of a client storage (:class:`StruckStorage`), and every door and statement that a
thread comes to. Leaves: the exception of a :class:`Strike` that is due. Fails: never by itself.

An error of the system comes from what may fail: a send, a poll, a start of a thread. An interrupt,
as a signal's handler raises it, or another thread, comes at any call to the outside, and before any
statement in a plan whose statements are points (``preempted``). None strikes in code that is not
ZEO's: ZODB and transaction have doors of their own, and are not made for that.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.simulation.clients import Interrupted, TimeIsUp, WatchedStorage

#: Doors at which the system says that something has failed.
SYSTEM = frozenset(('send', 'recv', 'poll', 'connect', 'socket', 'getaddrinfo', 'open', 'accept'))

#: Those at which memory may be short as well.
MEMORY = SYSTEM | {'spawn', 'get', 'wait', 'statement'}

#: What a strike calls any call of the storage.
ANY = 'any'


def _of_system(name: str) -> Callable[[], BaseException]:
    number = getattr(errno, name)
    return lambda: OSError(number, os.strerror(number))


#: Errors by their names in plans, and how each is made.
ERRORS: dict[str, Callable[[], BaseException]] = {
    'OSError': lambda: OSError(errno.EIO, 'Input/output error'),
    'MemoryError': MemoryError,
    'RuntimeError': lambda: RuntimeError("can't start new thread"),
    'Interrupted': Interrupted,
    'TimeIsUp': TimeIsUp,
    **{
        name: _of_system(name)
        for name in ('EIO', 'ENOMEM', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOSPC', 'EPERM')
    },
}


@dataclass
class Strike:
    """An exception that is due in the application's threads of one process.

    :param call: of the storage, within which it strikes; :data:`ANY`.
    :param error: its name in :data:`ERRORS`.
    :param after: points within such calls that are passed before it strikes.
    """

    process: str
    call: str
    error: str
    after: int

    def is_met(self, thread: Any, kind: str) -> bool:
        """Return whether it strikes at this point, to which a thread has come."""
        if thread.process.name != self.process or not thread.call:
            return False
        if self.call not in (ANY, thread.call) or not self._fits(kind):
            return False
        if not thread.has_begun:  # what strikes in front of all statements strikes before the call
            thread.has_begun = True
            return False
        self.after -= 1
        return self.after < 0

    def _fits(self, kind: str) -> bool:
        if self.error == 'MemoryError':
            return kind in MEMORY
        if self.error in ('Interrupted', 'TimeIsUp'):
            return _is_of_product()
        return kind in SYSTEM


def _is_of_product() -> bool:
    """Return whether the code that has come to a point is ZEO's."""
    frame: Any = sys._getframe()
    while frame is not None and frame.f_globals['__name__'].startswith('support.simulation'):
        frame = frame.f_back
    return frame is not None and frame.f_globals['__name__'].startswith('ZEO.')


#: Calls within which a strike may be asked for.
CALLS = (
    'tpc_begin',
    'store',
    'checkCurrentSerialInTransaction',
    'undo',
    'tpc_vote',
    'tpc_finish',
    'tpc_abort',
    'loadBefore',
    'prefetch',
    'sync',
    'new_oid',
    'ping',
)


class StruckStorage(WatchedStorage):
    """A client storage that says which of its calls a thread is in."""


def _named(name: str) -> Callable[..., Any]:
    call = getattr(WatchedStorage, name)

    def method(self: StruckStorage, *arguments: Any, **named: Any) -> Any:
        thread = self._system.current_thread()
        before, thread.call = thread.call, name
        thread.has_begun = False
        try:
            return call(self, *arguments, **named)
        finally:
            thread.call = before

    return method


for _name in CALLS:
    setattr(StruckStorage, _name, _named(_name))
