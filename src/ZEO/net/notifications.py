"""What a supervisor such as systemd is sent about this process: that it is ready, stops, is alive.

Enters: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of the environment; what has happened. Leaves:
datagrams. Fails: never; without a supervisor nothing is sent, and one that does not receive is not
worth a failure.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

log = logging.getLogger('ZEO.runzeo')

#: Seconds that a datagram may wait for a supervisor that is busy.
PATIENCE = 0.1

#: Digits of a number of the environment: microseconds of 30,000 years.
_MOST_DIGITS = 18

#: Characters of a line for people.
_LONGEST_STATUS = 1000


class Supervisor:
    """The one that has started this process, if there is one.

    :param environ: what it says is removed here, for the processes that this one starts.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop('NOTIFY_SOCKET', '')
        microseconds = environ.pop('WATCHDOG_USEC', '')
        process = environ.pop('WATCHDOG_PID', '')
        self._address = '\0' + address[1:] if address.startswith('@') else address
        watches = bool(address) and process in ('', str(os.getpid()))
        #: Seconds after which it takes this process for hung; 0: never.
        self.watchdog = number(microseconds) / 1e6 if watches else 0.0

    @property
    def listens(self) -> bool:
        """Whether there is one that wants to be sent something."""
        return bool(self._address)

    def status(self, text: str, patience: float = PATIENCE) -> None:
        """Send a line for people."""
        self.send(f'STATUS={" ".join(text.split())}'[:_LONGEST_STATUS], patience=patience)

    def send(self, *assignments: str, patience: float = PATIENCE) -> None:
        """Send assignments such as ``READY=1``.

        :param patience: seconds to wait for a supervisor that is busy; 0 in the loop, for what is
            sent again.
        """
        if not self._address:
            return
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(patience)
            out.sendto('\n'.join(assignments).encode(errors='replace'), self._address)
            return
        log.debug('the supervisor has not received %s', assignments)


def number(text: str) -> int:
    """Return a number of the environment; 0 for what is not one."""
    is_one = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_one else 0
