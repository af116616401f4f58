"""What a client needs of its cache, and how a program's own cache is completed to that.

Enters: a cache that a program passes as ``cache=``. Leaves: a :class:`Cache`. Fails: TypeError for
an object without one of the methods of :class:`BasicCache`.

The caches of this package are :class:`~ZEO.cache.memory_cache.MemoryCache` and
:class:`~ZEO.cache.client_cache.ClientCache`. Oids and tids are 8 bytes each. Any thread may call
any method.
"""

from __future__ import annotations

from typing import Any, Protocol

from ZEO.cache.early_ends import EndsEarly
from ZEO.cache.memory_cache import MemoryCache


class BasicCache(Protocol):
    """What a program's own cache must have."""

    def load(self, oid: bytes, /) -> tuple[bytes, bytes] | None:
        """Return ``(data, tid)`` of the current revision of an object, or None."""

    def loadBefore(self, oid: bytes, before: bytes, /) -> tuple[bytes, bytes, bytes | None] | None:
        """Return ``(data, tid, end tid or None)`` of the revision that was current just before the
        tid `before`, or None.
        """

    def store(self, oid: bytes, tid: bytes, end_tid: bytes | None, data: bytes, /) -> None:
        """Keep a revision; `end_tid` is None for the current one."""

    def invalidate(self, oid: bytes, tid: bytes | None, /) -> None:
        """End the current revision of an object at `tid`; None: forget all of its revisions."""

    def getLastTid(self) -> bytes | None:
        """Return the tid up to which all invalidations were applied, or None."""

    def setLastTid(self, tid: bytes | None, /) -> None:
        """Note that all invalidations up to `tid` were applied."""

    def clear(self) -> None:
        """Forget all revisions and the last tid."""

    def close(self) -> None:
        """Close the files, if there are any."""


class Cache(BasicCache, Protocol):
    """What a client uses."""

    def end_early(self, oid: bytes, end_tid: bytes, tid: bytes, /) -> None:
        """The current revision of an object was replaced at `tid` at the latest, if it is older:
        end it at `end_tid`, before which it was current for certain; forget all of its revisions
        if it is not older than that.
        """

    def drop_noncurrent(self) -> None:
        """Forget the revisions that are not current: after a pack the storage may not have them."""

    def detach(self) -> None:
        """Share nothing with the parent process from now on; called in a forked child."""


#: The methods that a program's own cache must have.
REQUIRED = tuple(name for name in vars(BasicCache) if not name.startswith('_'))

#: Those that it may leave out.
OPTIONAL = tuple(name for name in vars(Cache) if not name.startswith('_'))


class CompletedCache(EndsEarly):
    """A program's own cache without ``end_early``, ``drop_noncurrent`` or ``detach``.

    After a pack it forgets everything; a forked child uses an empty cache in memory instead, since
    it is not known what the program's cache shares with the parent.

    :param cache: the program's own.
    :param size: bytes that the cache of a forked child may take.
    """

    def __init__(self, cache: BasicCache, size: int) -> None:
        self._size = size
        self._use(cache)

    def _use(self, cache: Any) -> None:
        """Take over the methods of a cache, so that a hit costs no further call."""
        for name in REQUIRED:
            setattr(self, name, getattr(cache, name))
        if hasattr(cache, 'end_early'):
            self.end_early = cache.end_early  # type: ignore[method-assign]
        self.drop_noncurrent = getattr(cache, 'drop_noncurrent', cache.clear)
        self._detach = getattr(cache, 'detach', None)

    def detach(self) -> None:
        """Share nothing with the parent process from now on."""
        if self._detach is None:
            self._use(MemoryCache(self._size))
        else:
            self._detach()


def completed(cache: Any, size: int) -> Cache:
    """Return a program's cache, with the methods that it may leave out.

    :param size: bytes that the cache of a forked child may take, if it cannot share this one.
    :raises TypeError: when it lacks a method that it may not leave out; the text names it.
    """
    for name in REQUIRED:
        if not hasattr(cache, name):
            raise TypeError(name)
    if all(hasattr(cache, name) for name in OPTIONAL):
        return cache
    return CompletedCache(cache, size)  # type: ignore[return-value]
