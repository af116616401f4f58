"""How a server serves its storages, apart from what they are.

Enters: what the operator configured. Leaves: one value, which all that serve a storage read. Fails:
ConfigurationError for what makes no sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.serving.limits import Limits
from ZEO.serving.read_ahead.shared import NETWORK, checked
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

    @classmethod
    def from_arguments(cls, given: Mapping[str, Any]) -> Replicas:
        """Return what the arguments of the server's constructor say, each by its name.

        :raises ConfigurationError: for what makes no sense.
        """
        for name in 'wait_for_replicas', 'fence':
            number = given[name]
            if not isinstance(number, int) or number < 0:
                raise ConfigurationError(f'{name} is {number!r}: give a number of followers, or 0')
        action = given['replica_timeout_action']
        if action not in ('warn', 'refuse'):
            raise ConfigurationError(
                f"replica_timeout_action is {action!r}: give 'warn' or 'refuse'"
            )
        return cls(
            given['wait_for_replicas'],
            given['replica_timeout'],
            action == 'refuse',
            given['fence'],
        )


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

    @classmethod
    def from_arguments(cls, given: Mapping[str, Any]) -> ServingOptions:
        """Return what the arguments of the server's constructor say, each by its name.

        :raises ConfigurationError: when one makes no sense.
        """
        limits = given['limits']
        return cls(
            read_only=given['read_only'],
            transaction_timeout=given['transaction_timeout'],
            queue_size=given['invalidation_queue_size'],
            queue_age=given['invalidation_age'],
            poll_interval=given['poll_interval'],
            notify=given['notify'],
            replicas=Replicas.from_arguments(given),
            policy=ConflictPolicy(
                given['client_conflict_resolution'],
                given['conflict_modules'],
                limits.conflict_parts,
            ),
            slow=given['slow'],
            read_ahead=checked(given['read_ahead']),
            limits=limits,
        )
