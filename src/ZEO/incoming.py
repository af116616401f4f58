"""A file that arrives in chunks, such as a blob that a client sends or fetches.

Enters: chunks, in order. Leaves: the path of the whole file, in the directory where a rename puts
it into its place. Fails: never at once; an OSError of the disk is kept in `error` for what uses
the file, since the code that brings the chunks can do nothing about it.
"""

from __future__ import annotations

import os
import tempfile
from typing import IO

from ZEO.files import remove_if_there


class IncomingFile:
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

    def write(self, chunk: bytes | memoryview) -> None:
        """Append a chunk."""
        if self.error is None and self._file is not None:
            try:
                rest = memoryview(chunk)
                while rest:  # a disk that is nearly full takes a part, and reports no error
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.error = error

    def close(self) -> None:
        """Close the file, which is whole now unless `error` is set."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Remove the file."""
        self.close()
        remove_if_there(self.path)
