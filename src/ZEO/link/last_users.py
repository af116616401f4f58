"""The threads that still send or apply something when a connection is lost.

Enters: a connection that is lost. Leaves: the caller, once no thread applies anything of it; its
file, closed. Fails: ClientDisconnected when a thread applies something for too long.
"""

from __future__ import annotations

from collections.abc import Callable

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.outbox import Outbox
from ZEO.link.reader import Reader
from ZEO.net.locks import under_in_time
from ZEO.net.stream import Stream
from ZEO.net.system import System

#: Seconds that the end of a connection waits for threads that still send or apply something.
STILL_AT_IT = 30.0


class LastUsers:
    """Those of one connection.

    :param where: the server's address, for people.
    """

    def __init__(
        self, stream: Stream, outbox: Outbox, reader: Reader, where: str, system: System
    ) -> None:
        self._stream = stream
        self._outbox = outbox
        self._reader = reader
        self._where = where
        self._system = system

    def finish(self) -> None:
        """Return once no thread applies anything of the lost connection any more.

        :raises ClientDisconnected: when one does so for too long.
        """
        if not self._in_time(self._reader, self._reader.forget):
            raise ClientDisconnected(
                f'{self._where}: what the last connection brought is still being applied'
            )

    def free(self) -> None:
        """Close the file, once no thread reads or writes any more; should one not come to an end,
        the last to leave closes it.
        """
        self._in_time(self._reader, self._close)

    def _close(self) -> None:
        self._reader.forget()
        self._in_time(self._outbox, self._stream.close)

    def _in_time(self, role: Outbox | Reader, function: Callable[[], None]) -> bool:
        return under_in_time(role.lock, function, STILL_AT_IT, role.suspicion, self._system)
