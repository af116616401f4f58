"""Errors of the server's own system, made clear to the clients that they are sent to.

Enters: what a call has raised. Leaves: the error for the client, which says that the disk is the
server's, and names none of its files. Fails: never.
"""

from __future__ import annotations

from ZEO.serving.descriptors import SHORTAGE

#: Errors of connections and processes, which are not about a disk.
_NOT_OF_A_DISK = (
    BlockingIOError,
    ChildProcessError,
    ConnectionError,
    InterruptedError,
    ProcessLookupError,
    TimeoutError,
)

#: What the text of an error has that says already whose disk it is about: this server's, or, where
#: this server is the client of another one, that of the other.
_SAYS_WHOSE = 'server'


def for_client(error: BaseException) -> BaseException:
    """Return the error that a client is sent instead of another.

    A client raises an OSError as one of its own, and would look for its own disk. Class and number
    stay, which clients of any version know.
    """
    if not isinstance(error, OSError):
        return error
    number, text = error.errno, error.strerror
    if number in SHORTAGE:
        return OSError(number, 'the server has too many open files')
    if (
        not isinstance(number, int)
        or not isinstance(text, str)
        or _SAYS_WHOSE in text
        or isinstance(error, _NOT_OF_A_DISK)
        or type(error).__module__ != 'builtins'  # with arguments of its own
    ):
        return error
    return OSError(number, f"{text}, on the server's disk")
