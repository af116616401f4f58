"""What a client wants to change, kept until its vote.

Enters: operations, each with a data record or none. Leaves: the same, in order, once the commit
lock is held. Fails: OSError where the disk of the temporary
directory is full, or no file can be opened; TooMuch past what a client may have there.

The first operations stay in memory, as far as the client's account lets them; from the first one on
that may not, all go to a temporary file, whole: a million operations cost no more memory than a
few.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from struct import Struct
from typing import IO, Any

from ZODB.POSException import POSError

from ZEO.serving.account import FIRST_OPERATIONS, Account
from ZEO.serving.commit.operations import Operation, Store, StoreBlob, described, restored
from ZEO.serving.descriptors import SHORTAGE

#: What a log has the account give at a time, operations and bytes: asking for each costs 4 % of a
#: commit.
AT_ONCE, SPACE_AT_ONCE = 100, 64 * 1024

#: In front of each operation in the file: the sizes of its description and of its record, one more
#: than that: 0 is for None.
_SIZES = Struct('>IQ')


#: Bytes of a file that take a disk milliseconds to give back: another thread waits for that.
LARGE = 4 << 20


class CommitLog:
    """The operations of one transaction; what they take is on the client's account.

    :param first_space: bytes of records that it may have in memory without asking the account.
    :param elsewhere: has another thread call a function; None: there is none.
    """

    def __init__(
        self,
        account: Account,
        first_space: int = 0,
        elsewhere: Callable[[Callable[[], None]], Any] | None = None,
    ) -> None:
        self._account = account
        self._elsewhere = elsewhere
        self._operations: list[Operation] = []
        self._kept = 0  # how many operations the account has given memory for
        self._in_memory = 0  # the bytes of records that it has given
        self._more = FIRST_OPERATIONS if first_space else 0  # what is left of the one
        self._space = first_space  # and of the other
        self._file: IO[bytes] | None = None
        self._on_disk = 0  # the same, in the file
        self._end = 0  # of the operations in the file
        self._position = 0  # where the next write to the file would go
        self._in_file = 0  # how many operations those are
        self._last: Store | None = None  # the last one there, if it is a store, without its data
        self._last_begins = 0  # where

    def __len__(self) -> int:
        return len(self._operations) + self._in_file

    def add(self, operation: Operation) -> None:
        """Append an operation."""
        data = operation.data
        size = 0 if data is None else len(data)
        if size > self._space or not self._more:
            if self._file is not None or not self._take(size):
                self._spool(operation)
                return
        self._space -= size
        self._more -= 1
        self._operations.append(operation)

    def add_all(self, operations: list[Operation]) -> bool:
        """Append operations, if there is memory for all; return whether there was."""
        size, count = sum([len(operation.data or b'') for operation in operations]), len(operations)
        if size > self._space or count > self._more:
            if self._file is not None or not self._take(size, count):
                return False
        self._space -= size
        self._more -= count
        self._operations += operations
        return True

    def _take(self, size: int, count: int = 1) -> bool:
        """Have the account give memory: for many operations at once, or where there is little left,
        for as many as there are.
        """
        for operations, more in (
            (max(count, AT_ONCE), max(size, SPACE_AT_ONCE)),
            (count, size),
        ):
            if self._account.may_keep(operations, more):
                self._kept += operations
                self._in_memory += more
                self._more += operations
                self._space += more
                return True
        return False

    def take_back(self, blob: Operation) -> bool:
        """Take back the last operation if it stores the record of `blob`; return whether it did."""
        if self._in_file:
            last: Operation | None = self._last
        else:
            last = self._operations[-1] if self._operations else None
        if not (
            isinstance(blob, StoreBlob)
            and isinstance(last, Store)
            and (last.oid, last.serial) == (blob.oid, blob.serial)
        ):
            return False
        if self._in_file:
            self._end = self._last_begins
            self._in_file -= 1
            self._last = None
        else:
            self._operations.pop()
        return True

    def again(self) -> Iterable[Operation]:
        """Return the operations, which stay here."""
        operations = list(self._operations)
        return chain(operations, self._read(self._in_file)) if self._in_file else operations

    def drain(self) -> Iterable[Operation]:
        """Return the operations, each once."""
        operations, self._operations = self._operations, []
        if not self._in_file:
            return operations
        count, self._in_file, self._end, self._last = self._in_file, 0, 0, None
        return chain(operations, self._read(count))

    def close(self) -> None:
        """Forget everything."""
        self._operations = []
        self._more = self._space = 0
        if self._kept:
            self._account.drop(self._kept, self._in_memory)
            self._kept = self._in_memory = 0
        if self._file is None:
            return
        size, self._on_disk = self._on_disk, 0
        self._account.spool(-size)
        self._in_file = self._end = 0
        file, self._file = self._file, None
        if self._elsewhere is not None and size > LARGE:
            try:
                self._elsewhere(partial(_close, file))
                return
            except POSError:  # there are no more threads
                pass
        _close(file)

    def _spool(self, operation: Operation) -> None:
        self._more = 0  # what comes behind it goes to the file as well
        description, data = described(operation), operation.data
        size = _SIZES.size + len(description) + (0 if data is None else len(data))
        more = self._end + size - self._on_disk
        if more > 0:
            self._account.spool(more)
            self._on_disk += more
        try:
            self._append(description, data)
        except OSError as error:
            raise _explained(error) from None
        # the record of a blob is the only one that is looked for, and its data is not
        self._last = (
            Store(operation.oid, operation.serial, b'') if isinstance(operation, Store) else None
        )
        self._last_begins = self._end
        self._end += size
        self._position = self._end
        self._in_file += 1

    def _append(self, description: bytes, data: bytes | None) -> None:
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

    def _read(self, count: int) -> Iterator[Operation]:
        assert self._file is not None
        try:
            self._file.seek(0)  # which writes what is in the buffer
        except OSError as error:
            raise _explained(error) from None
        self._position = -1
        for _ in range(count):
            try:
                length, size = _SIZES.unpack(self._exactly(_SIZES.size))
                description = self._exactly(length)
                data = self._exactly(size - 1) if size else None
            except OSError as error:
                raise _explained(error) from None
            yield restored(description, data)

    def _exactly(self, size: int) -> bytes:
        assert self._file is not None
        data = self._file.read(size)
        if len(data) < size:
            raise OSError(
                'the temporary file of this transaction is shorter than what was written to it'
            )
        return data


def _explained(error: OSError) -> OSError:
    """Return an error that says that the disk is the one of temporary files, which mostly is not
    that of the storage; its directory is for the server's log alone, as the name of a file.
    """
    if error.strerror is None or error.errno in SHORTAGE:
        return error
    text = f"{error.strerror}, in the server's directory for temporary files"
    return OSError(error.errno, text, tempfile.gettempdir())


def _close(file: IO[bytes]) -> None:
    try:
        file.close()
    except OSError:
        # the disk is full, and Python tries once more to write what is not needed any more
        pass
