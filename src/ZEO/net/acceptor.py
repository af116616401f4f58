"""Accepting connections, whatever clients do.

Enters: a listening socket. Leaves: each accepted connection, non-blocking, by a callback. Fails:
never: a client that is gone at once is forgotten, and without free file descriptors a new client is
refused instead of left in the queue.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from ZEO.net import addresses, connecting, unix_sockets
from ZEO.net.activation import InheritedSocket
from ZEO.net.loop import READ, Loop
from ZEO.net.sources import source_of

log = logging.getLogger('ZEO.StorageServer')

#: Connections that are accepted before the other clients are served again.
_AT_ONCE = 64

#: Seconds for which nothing is accepted when even refusing fails.
_PAUSE = 1.0

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """One listening socket of a server."""

    def __init__(
        self, loop: Loop, listener: socket.socket, accepted: Callable[[socket.socket, object], None]
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._accepted = accepted
        # closed for a moment in order to accept, and so refuse, one connection
        self._spare = os.open(os.devnull, os.O_RDONLY)
        # until the next connection that can be accepted
        self._logged_exhaustion = False
        self._closed = False
        self.address = addresses.bound(listener)
        # None for the file of a socket that a supervisor keeps
        self._file = (
            unix_sockets.identity(self.address)
            if isinstance(self.address, str) and not isinstance(listener, InheritedSocket)
            else None
        )
        loop.add(listener, READ, self._on_ready)

    def close(self) -> None:
        """Stop listening, and remove the file of a Unix socket."""
        self._closed = True
        self._loop.remove(self._listener)
        self._listener.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        if isinstance(self.address, str):
            with suppress(OSError):
                # the directory is gone, or may not be written to
                unix_sockets.remove(self.address, self._file)

    def take(self) -> socket.socket | None:
        """Return a connection that waits; None where there is none, or it cannot be accepted. In
        another thread, while the loop stands still.
        """
        try:
            return self._listener.accept()[0]
        except OSError:
            return None

    def _on_ready(self, events: int) -> None:
        try:
            self._accept_all()
        except MemoryError as error:  # the next round of the loop tries again
            self._loop.reports.failed('accepting a connection failed', 'server', error)

    def _accept_all(self) -> None:
        for _ in range(_AT_ONCE):
            if self._closed:
                return
            try:
                stream, where = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    self._refuse(error)
                    return
                continue  # the client is gone already
            self._logged_exhaustion = False
            try:
                stream.setblocking(False)
                connecting.tune(stream)
            except OSError:
                stream.close()
                continue
            self._hand_on(stream, where)

    def _hand_on(self, stream: socket.socket, where: object) -> None:
        """Give a connection to the server; an error there costs this connection only."""
        try:
            self._accepted(stream, where)
        except Exception as error:
            stream.close()
            self._loop.reports.failed('a new connection failed', source_of(where), error)

    def _refuse(self, error: OSError) -> None:
        if not self._logged_exhaustion:
            self._logged_exhaustion = True
            log.error('%s: refusing connections: %s', addresses.show(self.address), error.strerror)
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        try:
            self._listener.accept()[0].close()
            self._spare = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            self._loop.remove(self._listener)
            self._loop.later(_PAUSE, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add(self._listener, READ, self._on_ready)
