"""A connection that listens to a database is watched, or is not taken for one that does."""

import errno
import os
import socket

import pytest
from ZODB.utils import z64

from ZEO.net.loop import Loop as EventLoop
from ZEO.serving.backends import listen
from ZEO.serving.backends.follow import Follower


class Connection:
    """A connection of a driver, whose notifications come on a socket."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair()
        self.notifies, self.autocommit, self.closed = [], False, False

    def fileno(self):
        return self.ours.fileno()

    def commit(self):
        """Nothing was changed."""

    def close(self):
        self.closed = True
        self.ours.close()
        self.theirs.close()


class Cursor:
    def execute(self, statement):
        """It is a statement."""

    def fetchone(self):
        return (1,)


class Adapter:
    """RelStorage's, of a database that has the trigger."""

    def __init__(self):
        self.connmanager, self.connections = self, []

    def open(self):
        self.connections.append(Connection())
        return self.connections[-1], Cursor()


class Loop:
    """A loop that does at once what comes from a thread."""

    def __init__(self):
        self.system, self.time, self.watched, self.failing = self, 100.0, [], None

    def now(self):
        return self.time

    def from_thread(self, function):
        if self.failing == 'from_thread':
            raise MemoryError
        try:
            function()
        except (OSError, MemoryError):  # the loop reports it
            pass

    def add(self, file, what, function):
        if self.failing == 'add':
            raise MemoryError
        self.watched.append(file)


@pytest.mark.parametrize('failing', ['from_thread', 'dup', 'add'])
def test_what_cannot_be_watched_is_closed_and_tried_again(monkeypatch, failing):
    adapter, loop = Adapter(), Loop()
    listener = listen.Listener('1', adapter, loop, lambda: None)
    loop.failing = failing
    with monkeypatch.context() as patched:
        if failing == 'dup':

            def dup(fd):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

            patched.setattr(listen.os, 'dup', dup)
        try:
            listener.listen()
        except MemoryError:  # the thread's boundary reports it
            pass
    assert not listener.is_listening and adapter.connections[0].closed
    loop.failing = None
    loop.time += listen.AGAIN
    listener.listen()
    assert listener.is_listening and len(loop.watched) == 1
    listener.close()


class Nothing:
    """A database in which nothing changes; and what follows it."""

    def after(self, last):
        return []

    def close(self):
        """There is nothing to close."""


@pytest.mark.parametrize('is_watched', [True, False])
def test_a_follower_that_ends_closes_what_it_has_listened_with(is_watched):
    adapter, ready = Adapter(), Loop()
    listener = listen.Listener('1', adapter, ready, lambda: None)
    listener.listen()
    (connection,), (file,) = adapter.connections, ready.watched
    if not is_watched:  # the loop has ended before it was
        file.close()
        listener._file = None
    loop = EventLoop()
    follower = Follower('1', Nothing(), loop, Nothing(), 0.01, z64, listener)
    follower.start()
    follower.close(20)
    loop.close()
    assert connection.closed and not listener.is_listening
    if is_watched:
        with pytest.raises(OSError, match='Bad file descriptor'):
            os.fstat(file.fileno())
