"""What a client wants to change, kept until its vote.

Enters: operations, each a name with arguments, of which one may be a large data record.  Leaves: the same, in order, once the
commit lock is held.  Fails: OSError where the disk of the temporary directory is full.
"""
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Any


class CommitLog:
    """The operations of one transaction; records beyond `memory` bytes go to a temporary file."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._operations: list[tuple[str, Any, tuple[Any, ...]]] = []   # (name, record or its (offset, size), other arguments)
        self._in_memory = 0               # bytes
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._operations)

    def add(self, name: str, data: bytes | None, *args: Any) -> None:
        """Append an operation."""
        if data is None or self._in_memory + len(data) <= self._memory:
            self._in_memory += len(data or b'')
            self._operations.append((name, data, args))
        else:
            self._operations.append((name, self._spool(data), args))

    def take_back(self, name: str, args: tuple[Any, ...]) -> bool:
        """Take back the last operation if it is this one; tell whether it was."""
        if self._operations and self._operations[-1][0] == name and self._operations[-1][2] == args:
            self._operations.pop()
            return True
        return False

    def drain(self) -> Iterator[tuple[str, bytes | None, tuple[Any, ...]]]:
        """Yield the operations as ``(name, data, other arguments)``, each once."""
        operations, self._operations = self._operations, []
        for name, data, args in operations:
            yield name, self._fetch(*data) if isinstance(data, tuple) else data, args

    def close(self) -> None:
        """Forget everything."""
        self._operations = []
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:   # the disk is full, and Python tries once more to write what nobody needs now
                pass

    def _spool(self, data: bytes) -> tuple[int, int]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix='zeo-commit-')
        offset = self._file.seek(0, 2)
        self._file.write(data)
        return offset, len(data)

    def _fetch(self, offset: int, size: int) -> bytes:
        assert self._file is not None
        self._file.seek(offset)
        return self._file.read(size)
