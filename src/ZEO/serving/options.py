"""How a server serves its storages, apart from what they are.

Enters: what the operator configured. Leaves: one value, which all that serve a storage read. Fails:
never.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ZEO.Exceptions import ConfigurationError
from ZEO.serving.limits import Limits
from ZEO.serving.read_ahead.shared import NETWORK
from ZEO.serving.resolve import ConflictPolicy
from ZEO.serving.slow import SlowTimes


@dataclass(frozen=True)
class Replicas:
    """How commits wait for followers."""

    #: How many followers have to have a transaction on disk before its commit is answered.
    wait_for: int = 0

    #: Seconds that a commit waits for them.
    timeout: float = 10.0

    #: What happens then: refuse commits; or go on without followers, with a line in the log.
    refuse: bool = False

    #: How many followers have to follow a server that has started before it takes writes.
    fence: int = 0


def replicas(wait_for: int, timeout: float, action: str, fence: int) -> Replicas:
    """Return how commits wait for followers.

    :raises ConfigurationError: for what makes no sense.
    """
    for name, number in (('wait_for_replicas', wait_for), ('fence', fence)):
        if not isinstance(number, int) or number < 0:
            raise ConfigurationError(f'{name} is {number!r}: give a number of followers, or 0')
    if action not in ('warn', 'refuse'):
        raise ConfigurationError(f"replica_timeout_action is {action!r}: give 'warn' or 'refuse'")
    return Replicas(wait_for, timeout, action == 'refuse', fence)


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

    #: How commits wait for followers.
    replicas: Replicas = Replicas()

    #: Which conflicts the server resolves.
    policy: ConflictPolicy = field(default_factory=ConflictPolicy)

    #: From when on something is slow.
    slow: SlowTimes = SlowTimes()

    #: Which clients are sent records before they ask for them, one of
    #: :data:`ZEO.serving.read_ahead.shared.VALUES`.
    read_ahead: str = NETWORK

    #: What a client may cost.
    limits: Limits = Limits()
