"""What a client wants to change, kept until its vote.

Enters: operations, each a name with arguments, of which one may be a large data record. Leaves: the
same, in order, once the commit lock is held. Fails: OSError where the disk of the temporary
directory is full, or no file can be opened; TooMuch past what a client may have there.

The first operations stay in memory, as far as the client's account lets them; from the first one on
that may not, all go to a temporary file, whole: a million operations cost no more memory than a
few.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Iterator
from struct import Struct
from typing import IO, Any

from ZEO.serving.account import Account

Operation = tuple[str, Any, tuple[Any, ...]]  # name, record, other arguments

#: What a log has the account give at a time, operations and bytes: asking for each costs 4 % of a
#: commit.
AT_ONCE, SPACE_AT_ONCE = 100, 64 * 1024

#: In front of each operation in the file: the sizes of its description and of its record, one more
#: than that: 0 is for None.
_SIZES = Struct('>IQ')


class CommitLog:
    """The operations of one transaction; what they take is on the client's account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._operations: list[Operation] = []
        self._kept = 0  # how many operations the account has given memory for
        self._in_memory = 0  # the bytes of records that it has given
        self._more = 0  # what is left of the one
        self._space = 0  # and of the other
        self._file: IO[bytes] | None = None
        self._on_disk = 0  # the same, in the file
        self._end = 0  # of the operations in the file
        self._position = 0  # where the next write to the file would go
        self._in_file = 0  # how many operations those are
        # the last one: name, arguments, where it is in the file
        self._last: tuple[str, tuple[Any, ...], int] | None = None

    def __len__(self) -> int:
        return len(self._operations) + self._in_file

    def add(self, name: str, data: bytes | None, *args: Any) -> None:
        """Append an operation."""
        size = 0 if data is None else len(data)
        if size > self._space or not self._more:
            if self._file is not None or not self._take(size):
                self._spool(name, data, args)
                return
        self._space -= size
        self._more -= 1
        self._operations.append((name, data, args))

    def _take(self, size: int) -> bool:
        """Have the account give memory: for many operations at once, or where there is little left,
        for this one.
        """
        for operations, more in ((AT_ONCE, max(size, SPACE_AT_ONCE)), (1, size)):
            if self._account.may_keep(operations, more):
                self._kept += operations
                self._in_memory += more
                self._more += operations
                self._space += more
                return True
        return False

    def take_back(self, name: str, args: tuple[Any, ...]) -> bool:
        """Take back the last operation if it is this one; tell whether it was."""
        if self._in_file:
            if self._last is None or self._last[:2] != (name, args):
                return False
            self._end = self._last[2]
            self._in_file -= 1
            self._last = None
            return True
        if self._operations and self._operations[-1][0] == name and self._operations[-1][2] == args:
            self._operations.pop()
            return True
        return False

    def drain(self) -> Iterator[Operation]:
        """Yield the operations as ``(name, data, other arguments)``, each once."""
        operations, self._operations = self._operations, []
        yield from operations
        if self._in_file:
            count, self._in_file, self._end, self._last = self._in_file, 0, 0, None
            yield from self._read(count)

    def close(self) -> None:
        """Forget everything."""
        self._operations = []
        self._account.drop(self._kept, self._in_memory)
        self._account.spool(-self._on_disk)
        self._more = self._space = self._kept = self._in_memory = self._on_disk = self._in_file = (
            self._end
        ) = 0
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                # the disk is full, and Python tries once more to write what nobody needs now
                pass

    def _spool(self, name: str, data: bytes | None, args: tuple[Any, ...]) -> None:
        self._more = 0  # what comes behind it goes to the file as well
        description = marshal.dumps((name, args))
        size = _SIZES.size + len(description) + (0 if data is None else len(data))
        more = self._end + size - self._on_disk
        if more > 0:
            self._account.spool(more)
            self._on_disk += more
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix='zeo-commit-')
        if self._position != self._end:
            # after what was taken back or drained; else the buffer would be written each time
            self._file.seek(self._end)
        self._file.write(
            _SIZES.pack(len(description), 0 if data is None else len(data) + 1) + description
        )
        if data:
            self._file.write(data)
        self._last = name, args, self._end
        self._end += size
        self._position = self._end
        self._in_file += 1

    def _read(self, count: int) -> Iterator[Operation]:
        assert self._file is not None
        self._file.seek(0)
        self._position = -1
        for _ in range(count):
            described, size = _SIZES.unpack(self._exactly(_SIZES.size))
            name, args = marshal.loads(self._exactly(described))
            yield name, self._exactly(size - 1) if size else None, args

    def _exactly(self, size: int) -> bytes:
        assert self._file is not None
        data = self._file.read(size)
        if len(data) < size:
            raise OSError(
                'the temporary file of this transaction is shorter than what was written to it'
            )
        return data
