"""Stores of one transaction that arrive one behind another, read as one message.

Enters: the bytes of several frames. Leaves: the message that stands for those of them that are such
stores, and where the others begin; None where the first two are not, which is left to the way of
each frame. Fails: never.

To cut, decode and dispatch each of them takes a server more steps than most storages take for the
record. As with :mod:`ZEO.wire.templates` there is one form of each: that in which clients of this
package send them.
"""

from __future__ import annotations

import re
from typing import Any

from ZEO.wire.message import FROM_TEMPLATE


class Run:
    """In place of a message's name: nothing that a client sends is equal to it.

    :param of: the call that was made several times.
    """

    __slots__ = ('of',)

    def __init__(self, of: str) -> None:
        self.of = of

    def __str__(self) -> str:
        return self.of


#: The names of such messages. Their arguments are the number of the transaction, and the others of
#: each call as a tuple.
STORES, RESTORES = Run('storea'), Run('restorea')

RunMessage = tuple[Any, bool, Run, tuple[int, list[tuple[Any, ...]]]]

#: How many are read as one at most, which take a server a millisecond.
MOST = 100

#: The size of a frame, and its message up to the record.
_STORE = rb'(.{4})\x80\x03\(K\0\x88X\x06\0\0\0storea\(C\x08(.{8})C\x08(.{8})(?:B(.{4})|C(.))'
_RESTORE = rb'(.{4})\x80\x03\(K\0\x88X\x08\0\0\0restorea\(C\x08(.{8})C\x08(.{8})(?:B(.{4})|C(.))'

#: How it ends behind the record, with the number of the transaction; the empty group is its end.
#: That of a restorea has the earlier transaction in front.
_STORE_END = rb'()J(...[\0-\x7f])tt\.()'
_RESTORE_END = rb'(?:N|C\x08(.{8}))J(...[\0-\x7f])tt\.()'


def _matches(pattern: bytes) -> Any:
    return re.compile(pattern, re.DOTALL).match


#: For each kind: its first, its end, and its end with the next one behind it.
_KINDS = (
    (STORES, _matches(_STORE), _matches(_STORE_END), _matches(_STORE_END + _STORE)),
    (RESTORES, _matches(_RESTORE), _matches(_RESTORE_END), _matches(_RESTORE_END + _RESTORE)),
)

#: How a message begins that has no answer.
_ONE_WAY = b'\x80\x03(K\0\x88X'

_number = int.from_bytes


def read(data: bytes, begin: int) -> tuple[RunMessage, int] | None:
    """Return the message that stands for the frames from `begin` on, and the end of the last."""
    if not data.startswith(_ONE_WAY, begin + 4):  # most other calls are told by that
        return None
    for kind, first, end_of, next_of in _KINDS:
        found = first(data, begin)
        if found is not None:
            return _read(data, begin, kind, found, end_of, next_of)
    return None


def _read(
    data: bytes, begin: int, kind: Run, found: Any, end_of: Any, next_of: Any
) -> tuple[RunMessage, int] | None:
    calls: list[tuple[Any, ...]] = []
    is_store, txn = kind is STORES, None
    size, oid, serial, long, short = found.groups()
    while found is not None and len(calls) < MOST:
        start = found.end()
        stop = start + (short[0] if long is None else _number(long, 'little'))
        found = next_of(data, stop)
        end = found or end_of(data, stop)
        # not if it has not come whole, is of another transaction, or only looks like one
        if (
            end is None
            or end.end(3) != begin + 4 + _number(size, 'big')
            or (txn or end[2]) != end[2]
        ):
            break
        txn, begin = end[2], end.end(3)
        record = data[start:stop]
        calls.append((oid, serial, record) if is_store else (oid, serial, record, end[1]))
        if found is not None:
            _, _, _, size, oid, serial, long, short = found.groups()
    if len(calls) < 2:
        return None
    return (FROM_TEMPLATE, True, kind, (_number(txn or b'', 'little'), calls)), begin
