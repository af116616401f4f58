"""How a server serves its storages, apart from what they are.

Enters: what the operator configured. Leaves: one value, which all that serve a storage read. Fails:
never.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ZEO.serving.limits import Limits
from ZEO.serving.resolve import ConflictPolicy


@dataclass(frozen=True)
class ServingOptions:
    """The same for all storages of a server."""

    #: Refuse all writes.
    read_only: bool = False

    #: Seconds for which a client may hold a commit lock; None: without a limit.
    transaction_timeout: float | None = 30

    #: Transactions that are remembered for clients that come back.
    queue_size: int = 100

    #: Seconds for which older ones are looked up in a storage that can be iterated; None: never.
    queue_age: float | None = None

    #: Seconds between two looks at a database that others may change.
    poll_interval: float = 0.2

    #: Hear at once what others have committed, where the database has the trigger for that.
    notify: bool = False

    #: Which conflicts the server resolves.
    policy: ConflictPolicy = field(default_factory=ConflictPolicy)

    #: What a client may cost.
    limits: Limits = Limits()
