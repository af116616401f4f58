"""What is said where the process, or the system, has no file descriptor left.

Enters: errors of opening a file.  Leaves: the same error with a text that says what is missing.  Fails: by that error.
"""
from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: What the system says then.
SHORTAGE = (errno.EMFILE, errno.ENFILE)


@contextmanager
def explain_shortage() -> Iterator[None]:
    """Have an error inside say that the server has too many files open, if that is why."""
    try:
        yield
    except OSError as error:
        if error.errno in SHORTAGE:
            raise clear(error) from error
        raise


def clear(error: OSError) -> OSError:
    """Return the error to be told instead of another."""
    return OSError(error.errno, 'the server has too many open files') if error.errno in SHORTAGE else error


def find_temporary_directory() -> None:
    """Look for the directory of temporary files now: with no descriptor left it could not be found, and that would be told."""
    with suppress(OSError):
        tempfile.gettempdir()
