"""A connection that listens to a database is watched, or is not taken for one that does."""

import errno
import os
import socket

import pytest

from ZEO.serving.backends import listen


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
    loop.watched[0].close()
    adapter.connections[1].close()
