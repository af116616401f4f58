"""Ids, lists of them, and lists of rows, such as a server answers with by the thousand.

Enters: what came as such. Leaves: whether it is. Fails: never.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]

#: What ZODB.utils.maxtid is.
MAX_TID = b'\x7f' + b'\xff' * 7

LISTS = (list, tuple)
LIST_TYPES = {*LISTS}


def is_id(value: Any) -> bool:
    """Return whether it is an oid or a tid."""
    return type(value) is bytes and len(value) == 8


def is_tid(value: Any) -> bool:
    """Return whether it can be the tid of a last transaction. One that ZODB cannot increment would
    stop every connection.
    """
    return is_id(value) and value <= MAX_TID


def are_ids(values: Any) -> bool:
    """Return whether it is a list of oids; there may be a million."""
    return type(values) in LISTS and _are_all(type, bytes, values) and _are_all(len, 8, values)


def _are_all(look: Callable[[Any], Any], expected: Any, values: Any) -> bool:
    """Return whether `look` returns `expected` for all values; takes 10 ns for each."""
    return [*map(look, values)].count(expected) == len(values)


def are_rows(rows: Any, *columns: Check) -> bool:
    """Return whether all rows are lists with one item for each column, and the columns are right.

    They are checked by columns, since there may be many rows: checking each item takes ten times as
    long.
    """
    if not (
        type(rows) in LISTS
        and {*map(type, rows)} <= LIST_TYPES
        and _are_all(len, len(columns), rows)
    ):
        return False
    return not rows or all(
        check(column) for check, column in zip(columns, zip(*rows, strict=True), strict=True)
    )


def of_types(*types: type) -> Check:
    """Return a check that all items of a column have one of these types."""
    allowed = {*types}
    return lambda column: {*map(type, column)} <= allowed


def are_ids_or_none(column: Any) -> bool:
    return column.count(None) == len(column) or are_ids(
        [value for value in column if value is not None]
    )
