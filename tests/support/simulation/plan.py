"""What happens in one history: who works on what, and what goes wrong when.

Enters: a number, or the JSON of a plan. Leaves: a :class:`Plan`. Fails: ValueError for JSON that is
not a plan.

Choices that the plan leaves open (which thread runs next, how long a message takes) are drawn from
the world, which has the plan's seed; so a plan always leads to the same history.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

Steps = list[list[Any]]

#: What plans may have that a campaign can be restricted to.
KINDS = ('database', 'grouped', 'chains', 'doors', 'followers', 'promotions', 'losses', 'blobs')


@dataclass
class ClientPlan:
    """One client.

    :param lives: what its threads do, for each of its processes: the next one takes over where a
        crash has ended the one before.
    :param through: which servers it knows, in this order: ``server``, ``fan``, ``f1``, ``f2``.
    :param file: whether its cache outlives the process.
    :param options: of the client storage.
    :param objects: how many objects its connections keep.
    """

    name: str
    lives: list[list[Steps]]
    through: list[str] = field(default_factory=lambda: ['server'])
    file: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    objects: int = 400


@dataclass
class Plan:
    """One history.

    :param server: options of the server.
    :param fan: options of a second server, whose storage is a client of the first; None: none.
    :param faults: each as [virtual seconds, kind, arguments], see
        :mod:`support.simulation.calamities`.
    :param latency: seconds of one way over the network, at most.
    :param switches: the share of calls to the outside at which another thread may go on.
    :param pieces: the share of sends and receives that are cut into pieces.
    :param preempted: the share of statements before which another thread may go on.
    :param database: of a plan whose storage is in a database: `latency` of a call in seconds, at
        most; seconds between two polls, `poll`; `prefetch`: whether objects may be fetched
        together; `shared`: whether the second server is not a client of the first, but a server of
        the same database. None: it is a FileStorage.
    :param sync: seconds of a sync of the server's disk, at most, where its storage is one in which
        a sync is for several transactions; None: it is another one.
    :param followers: of a plan whose storage has followers: their `names`; whether they begin with
        a copy of the file, `copied`; whether they know all servers, `all`, or each the one before
        it, `chained`, or the first one; `loses`: whether one may be promoted that lacks commits.
        None: it has none.
    :param blobs: True where clients have blobs; None: they have none.
    """

    seed: int
    server: dict[str, Any] = field(default_factory=dict)
    fan: dict[str, Any] | None = None
    clients: list[ClientPlan] = field(default_factory=list)
    faults: list[list[Any]] = field(default_factory=list)
    latency: float = 0.0005
    switches: float = 0.02
    pieces: float = 0.02
    preempted: float = 0.0
    sync: float | None = None
    database: dict[str, Any] | None = None
    followers: dict[str, Any] | None = None
    blobs: bool | None = None

    def json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self), separators=(',', ':'))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan of :meth:`json`.

        :raises ValueError: when the text is something else.
        """
        given = json.loads(text)
        known = {one.name for one in fields(cls)}
        if not isinstance(given, dict) or not given.keys() <= known:
            raise ValueError(f'this is not a plan: {text[:80]}')
        clients = [ClientPlan(**one) for one in given.pop('clients', ())]
        return cls(**given, clients=clients)

    @property
    def shares_database(self) -> bool:
        """Whether two servers have one database."""
        return self.fan is not None and self.database is not None and self.database['shared']

    def has_kind(self, kind: str) -> bool:
        """Return whether it has something of :data:`KINDS`."""
        if kind == 'chains':
            return self.has('chain')
        if kind == 'doors':
            return any(fault[1] == 'strike' for fault in self.faults)
        if kind == 'blobs':
            return self.blobs is not None
        if kind == 'followers':
            return self.followers is not None
        if kind == 'losses':
            return self.followers is not None and self.followers.get('loses', False)
        if kind == 'promotions':
            return any(fault[1] == 'promote' for fault in self.faults)
        return (self.sync if kind == 'grouped' else self.database) is not None

    def has(self, *steps: str) -> bool:
        """Return whether any client does one of these steps."""
        return any(
            step[0] in steps
            for client in self.clients
            for life in client.lives
            for thread in life
            for step in thread
        )
