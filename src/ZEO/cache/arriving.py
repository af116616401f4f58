"""A file that arrives in chunks, over a wire.

Enters: chunks, in order. Leaves: the path of the whole file, in the directory where a rename puts
it into its place. Fails: never at once; an OSError of the disk is kept for whoever asks for the
file: who brings the chunks can't do anything about it.
"""

from __future__ import annotations

import os
import tempfile
from typing import IO


class ArrivingFile:
    """A temporary file in `directory`."""

    def __init__(self, directory: str, prefix: str) -> None:
        self.error: OSError | None = None
        self.path = ''
        self._file: IO[bytes] | None = None
        try:
            descriptor, self.path = tempfile.mkstemp('.blob', prefix, directory)
            self._file = os.fdopen(descriptor, 'wb', buffering=0)
        except OSError as error:
            self.error = error

    def add(self, chunk: bytes) -> None:
        """Append a chunk."""
        if self.error is None and self._file is not None:
            try:
                rest = memoryview(chunk)
                while rest:  # a disk that is nearly full takes a part, and says nothing
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.error = error

    def close(self) -> None:
        """The last chunk was added."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Remove the file."""
        self.close()
        remove(self.path)


def remove(path: str) -> bool:
    """Remove a file; tell whether it was there, and ours to remove."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True
