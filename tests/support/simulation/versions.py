"""The values of each object in the course of time.

Enters: a history. Leaves: what a snapshot has. Fails: never.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from support.simulation.history import History


class Versions:
    """The values of each key in the course of time.

    What was packed away is taken from the attempts that were acknowledged.
    """

    def __init__(self, history: History) -> None:
        found: dict[str, dict[str, Any]] = {}
        for attempt in history.attempts:
            if attempt.is_acknowledged and attempt.tid and attempt.tid <= history.packed:
                for key, value in attempt.written().items():
                    found.setdefault(key, {})[attempt.tid] = value
        for transaction in history.transactions or ():
            for key, value in transaction.values.items():
                found.setdefault(key, {})[transaction.tid] = value
        self.by_key = {
            key: (sorted(rows), [rows[tid] for tid in sorted(rows)]) for key, rows in found.items()
        }

    def at(self, key: str, tid: str) -> tuple[str, Any]:
        """Return the tid and the value that a snapshot has; '' and None before the first."""
        tids, values = self.by_key.get(key, ([], []))
        position = bisect_right(tids, tid)
        return (tids[position - 1], values[position - 1]) if position else ('', None)

    def after(self, key: str, tid: str) -> str | None:
        """Return the tid of the next change after one."""
        tids = self.by_key.get(key, ([], []))[0]
        position = bisect_right(tids, tid)
        return tids[position] if position < len(tids) else None
