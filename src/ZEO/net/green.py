"""What gevent's monkey patching has left of this process, without a need for gevent.

Enters: a name of a module of Python's.  Leaves: what is to be used in its place.  Fails: never.

With ``patch_all()`` threads are greenlets, and everything that waits has to let the others run.
With ``thread=False`` threads and their locks are the system's: what lets another greenlet of the
same thread run then would let it wait for a lock that only the first one gives back, for ever.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def are_threads_green() -> bool:
    """Tell whether this process's threads are greenlets."""
    monkey = sys.modules.get('gevent.monkey')
    return monkey is not None and monkey.is_module_patched('threading')


def waiting(module: str, name: str) -> Any:
    """Return what waits as the threads do: gevent's where they are greenlets, else Python's own."""
    monkey = sys.modules.get('gevent.monkey')
    if monkey is None or monkey.is_module_patched('threading'):
        return getattr(import_module(module), name)
    return monkey.get_original(module, name)
