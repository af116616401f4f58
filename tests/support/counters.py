"""A class of an application: clients can import it, servers can not."""

from __future__ import annotations

from typing import Any

from persistent import Persistent


class Counter(Persistent):
    """Two changes at a time are both counted."""

    value = 0

    def _p_resolveConflict(self, old: Any, committed: Any, new: Any) -> Any:
        steps = committed.get('value', 0) - old.get('value', 0)
        return {**new, 'value': new.get('value', 0) + steps}
