"""Ending a connection that another library has opened, and that a thread waits for.

Enters: the number of its file. Leaves: a connection at its end for both sides, so that the thread
gets an error. Fails: OSError where the number is not that of a connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable


def cut(fileno: Callable[[], int]) -> None:
    """Shut a connection down; its file stays open until its library closes it.

    :param fileno: returns the number of its file. It is asked twice: meanwhile another thread may
        have closed the file, and given its number to another one.
    :raises OSError: when there is no such connection any more.
    """
    number = fileno()
    with socket.socket(fileno=socket.dup(number)) as connection:
        if fileno() == number:
            connection.shutdown(socket.SHUT_RDWR)
