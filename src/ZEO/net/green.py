"""What gevent has patched in this process, without importing gevent.

Enters: a module of Python and a name in it. Leaves: the patched or the original object. Fails:
never.

With ``patch_all()`` threads are greenlets, and everything that waits has to let the others run.
With ``thread=False`` threads and their locks are the system's. A call that lets another greenlet of
the same thread run would then let it wait for a lock that only the first one can give back: a
deadlock.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def are_threads_green() -> bool:
    """Return whether this process's threads are greenlets."""
    monkey = sys.modules.get('gevent.monkey')
    return monkey is not None and monkey.is_module_patched('threading')


def waiting(module: str, name: str) -> Any:
    """Return a blocking function that fits the threads: gevent's for greenlets, else Python's."""
    monkey = sys.modules.get('gevent.monkey')
    if monkey is None or monkey.is_module_patched('threading'):
        return getattr(import_module(module), name)
    return monkey.get_original(module, name)
