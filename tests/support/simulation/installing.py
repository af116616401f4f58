"""Puts a world in the place of sockets, clocks and locks, in the modules that reach them.

Enters: a world. Leaves: a function that puts everything back. Fails: AttributeError when a module
has lost a name that is replaced here: say so here then.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableSet
from types import SimpleNamespace
from typing import Any

import transaction._transaction
import ZODB.ActivityMonitor
import ZODB.BaseStorage
import ZODB.Connection
import ZODB.DB
import ZODB.FileStorage.FileStorage
import ZODB.MappingStorage
import ZODB.mvccadapter
import ZODB.utils

import ZEO.cache.client_cache
import ZEO.cache.memory_cache
import ZEO.cache.reading
import ZEO.link.commits
import ZEO.link.link
import ZEO.net.acceptor
import ZEO.net.addresses
import ZEO.net.connecting
import ZEO.net.loop
import ZEO.net.stream
import ZEO.net.tls_socket
import ZEO.serving.backends.order
import ZEO.serving.invalidations
import ZEO.serving.reception
import ZEO.serving.sizes
import ZEO.StorageServer
from support.simulation import waiting
from support.simulation.network import Connection
from support.simulation.polls import Epoll, Poll
from support.simulation.sockets import Socket

#: Modules that tell the time.
_CLOCKS = (
    ZODB.ActivityMonitor,
    ZODB.BaseStorage,
    ZODB.Connection,
    ZODB.DB,
    sys.modules['ZODB.FileStorage.FileStorage'],  # the name is the class's
    ZODB.MappingStorage,
    ZODB.utils,
)

#: Modules that make locks with :mod:`threading`.
_LOCKERS = (
    ZEO.cache.client_cache,
    ZEO.cache.memory_cache,
    ZEO.cache.reading,
    ZEO.net.tls_socket,
)

#: Modules with sets whose order would depend on addresses in memory.
_SETS = (
    ZEO.serving.reception,
    ZEO.link.commits,
    ZEO.link.link,
    ZEO.serving.invalidations,
    ZEO.serving.sizes,
    ZODB.mvccadapter,
)

_NO_TRACEBACKS = dict.fromkeys(('print_stack', 'print_tb', 'format_exception_only'), lambda *_: [])


def install(world: Any) -> Callable[[], None]:
    """Replace names of modules; return what puts them back."""
    before: list[tuple[Any, str, Any]] = []
    for module, name, value in _replacements(world):
        before.append((module, name, vars(module).get(name, before)))
        setattr(module, name, value)

    def restore() -> None:
        for module, name, value in reversed(before):
            if value is before:
                delattr(module, name)
            else:
                setattr(module, name, value)

    return restore


def _replacements(world: Any) -> Iterator[tuple[Any, str, Any]]:
    for module, name, value, original in _of_the_product(world):
        yield module, name, _Divided(world.scheduler, value, original)
    yield ZEO.net.loop, 'new_poller', _divided(world, _new_poller, ZEO.net.loop.new_poller)
    yield ZEO.net.stream, '_poll_of', _divided(world, _poll_of, ZEO.net.stream._poll_of)
    clock = _Clock(world)
    for module in _CLOCKS:
        yield module, 'time', clock
    threads = _Divided(world.scheduler, _threads(world), threading)
    for module in _LOCKERS:
        yield module, 'threading', threads
    for name in ('Lock', 'RLock', 'Condition'):
        yield ZODB.utils, name, getattr(threads, name)
    yield ZODB.mvccadapter, 'Lock', threads.Lock
    yield transaction._transaction, 'threading', threads
    # it formats a traceback for each failed commit, which takes a fifth of a history
    yield transaction._transaction, 'traceback', SimpleNamespace(**_NO_TRACEBACKS)
    for module in _SETS:
        yield module, 'set', OrderedSet
    yield ZEO.serving.backends.order, 'frozenset', OrderedSet


def _of_the_product(world: Any) -> Iterator[tuple[Any, str, Any, Any]]:
    sockets = _sockets(world)
    yield ZEO.net.loop, 'socket', sockets, socket
    yield ZEO.net.addresses, 'socket', sockets, socket
    yield ZEO.net.connecting, 'socket', sockets, socket
    yield ZEO.net.acceptor, 'os', _Files(world), os


class _Divided:
    """Stands for a module: simulated threads find the world, real ones, which other tests have left
    behind, the module itself.
    """

    def __init__(self, scheduler: Any, simulated: Any, original: Any) -> None:
        self._scheduler = scheduler
        self._simulated, self._original = simulated, original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original if self._scheduler.is_foreign else self._simulated, name)


def _divided(world: Any, simulated: Any, original: Any) -> Callable[..., Any]:
    """Return the same for a function; the simulated one is given the world as well."""

    def call(*arguments: Any) -> Any:
        if world.scheduler.is_foreign:
            return original(*arguments)
        return simulated(world, *arguments)

    return call


def _new_poller(world: Any) -> Epoll:
    return Epoll(world.scheduler, world.current_process())


def _sockets(world: Any) -> Any:
    """Return what stands for the module socket."""
    network = world.network

    def make(*kind: Any) -> Socket:
        world.scheduler.door('socket')
        return Socket(network, world.current_process())

    def pair() -> tuple[Socket, Socket]:
        ends = make(), make()
        Connection(network, ends)
        return ends

    def look_up(host: str | None, port: int, *_: Any, **__: Any) -> list[Any]:
        world.scheduler.door('getaddrinfo')
        where = (host or '127.0.0.1', port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, '', where)]

    names = {name: value for name, value in vars(socket).items() if name.isupper()}
    return SimpleNamespace(
        **names, gaierror=socket.gaierror, socket=make, socketpair=pair, getaddrinfo=look_up
    )


def _poll_of(world: Any, raw: Socket, events: int) -> Poll:
    poll = Poll(world.scheduler)
    poll.register(raw, events)
    return poll


def _threads(world: Any) -> Any:
    """Return what stands for the module threading."""
    scheduler = world.scheduler
    return SimpleNamespace(
        Lock=lambda: waiting.Lock(scheduler),
        RLock=lambda: waiting.RLock(scheduler),
        Condition=lambda lock=None: waiting.Condition(scheduler, lock),
        Event=lambda: waiting.Event(scheduler),
        get_ident=lambda: getattr(scheduler.current, 'ident', 0),
        current_thread=threading.current_thread,
        main_thread=threading.main_thread,
    )


class _Clock:
    """Stands for the module time."""

    def __init__(self, world: Any) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        """Return the wall clock's time of the process that asks."""
        process = self._world.current_process()
        if process is None:
            return time.time()
        return process.system.wall_clock()


class _Files:
    """Stands for the module os where a server keeps a spare descriptor."""

    devnull, O_RDONLY = os.devnull, os.O_RDONLY

    def __init__(self, world: Any) -> None:
        self._world = world

    def open(self, path: str, flags: int) -> int:
        self._world.scheduler.door('open')
        process = self._world.current_process()
        return process.new_file(_Spare(process.files))

    def close(self, fd: int) -> None:
        if self._world.current_process().files.pop(fd, None) is None:
            raise OSError(errno.EBADF, 'Bad file descriptor')


class _Spare:
    """A file that is not used."""

    def __init__(self, files: dict[int, Any]) -> None:
        self._files = files

    def close(self) -> None:
        for fd, file in list(self._files.items()):
            if file is self:
                del self._files[fd]

    lose_power = close


class OrderedSet(MutableSet[Any]):
    """A set that is iterated in the order in which its items came."""

    __slots__ = ('_items',)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Any) -> None:
        self._items[item] = None

    def discard(self, item: Any) -> None:
        self._items.pop(item, None)

    def issuperset(self, others: Iterable[Any]) -> bool:
        return all(one in self._items for one in others)

    def clear(self) -> None:
        self._items.clear()

    def copy(self) -> OrderedSet:
        return OrderedSet(self._items)

    def update(self, *others: Iterable[Any]) -> None:
        for other in others:
            self._items.update(dict.fromkeys(other))


assert sys.implementation.name == 'cpython'  # objects go when they are not used any more
