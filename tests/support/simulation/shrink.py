"""Makes a failing plan smaller: fewer clients, faults and steps, simpler options.

Enters: a plan, and a function that says whether a plan fails in the same way. Leaves: a smaller
plan that still does. Fails: never; it stops after a number of tries.

A smaller plan has other choices in its world than the one before, so that a fault may hide: each
candidate is tried with some other seeds as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace

from support.simulation.plan import ClientPlan, Plan

#: How many seeds a candidate is tried with.
SEEDS = 3

#: What simpler options are.
_SERVER = {
    'msgpack': False,
    'invalidation_queue_size': 100,
    'transaction_timeout': 30,
    'client_conflict_resolution': False,
}


class Shrinking:
    """One attempt to make a plan smaller.

    :param fails: runs a plan, and says whether it fails as the first one does.
    :param most_runs: how often it is called at most.
    """

    def __init__(self, fails: Callable[[Plan], bool], most_runs: int) -> None:
        self._fails = fails
        self._left = most_runs

    def smallest(self, plan: Plan) -> Plan:
        """Return the smallest plan that was found."""
        number, since = 0, 0  # which candidate is next, and how many have not failed in a row
        while self._left > 0:
            some = list(candidates(plan))
            if since >= len(some):
                break
            found = self._failing(some[number % len(some)])
            if found is None:
                number, since = number % len(some) + 1, since + 1
            else:
                # the candidates behind it are what they were: go on there
                plan, since = found, 0
        return plan

    def _failing(self, plan: Plan) -> Plan | None:
        """Return the plan with a seed with which it fails, or None."""
        for number in range(SEEDS):
            if self._left <= 0:
                return None
            self._left -= 1
            tried = replace(deepcopy(plan), seed=plan.seed + number)
            if self._fails(tried):
                return tried
        return None


def size(plan: Plan) -> int:
    """Return how much there is to read in a plan."""
    return len(plan.json())


def candidates(plan: Plan) -> Iterator[Plan]:
    """Yield plans that are simpler by one thing, the largest things first."""
    if plan.fan is not None:
        yield _without_fan(plan)
    if plan.followers is not None:
        yield from _with_fewer_followers(plan)
    for number in range(len(plan.clients)):
        name = plan.clients[number].name
        faults = [fault for fault in plan.faults if name not in fault]
        yield replace(plan, clients=_without(plan.clients, number), faults=faults)
    for number in range(len(plan.faults)):
        yield replace(plan, faults=_without(plan.faults, number))
    for number, client in enumerate(plan.clients):
        for smaller in _smaller_clients(client):
            clients = list(plan.clients)
            clients[number] = smaller
            yield replace(plan, clients=clients)
    for name in ('switches', 'pieces', 'preempted'):
        if getattr(plan, name):
            yield replace(plan, **{name: 0.0})
    for name, value in _SERVER.items():
        if plan.server.get(name) != value:
            yield replace(plan, server={**plan.server, name: value})
    if plan.database is not None and not any(fault[1] == 'database' for fault in plan.faults):
        yield replace(plan, database=None)
    if plan.sync is not None:
        yield replace(plan, sync=None)
    if plan.latency != 0.0002:
        yield replace(plan, latency=0.0002)


def _without_fan(plan: Plan) -> Plan:
    clients = [replace(client, through=['server']) for client in plan.clients]
    faults = [fault for fault in plan.faults if 'fan' not in fault]
    return replace(plan, fan=None, clients=clients, faults=faults)


def _with_fewer_followers(plan: Plan) -> Iterator[Plan]:
    assert plan.followers is not None
    names = plan.followers['names']
    for kept in ([], names[:1])[: len(names)]:
        gone = set(names) - set(kept)
        clients = [
            replace(client, through=[one for one in client.through if one not in gone])
            for client in plan.clients
        ]
        faults = [
            fault
            for fault in plan.faults
            if gone.isdisjoint(one for one in fault if isinstance(one, str))
            and (kept or fault[1] != 'promote')
        ]
        server = {**plan.server}
        if server.get('wait_for_replicas', 0) > len(kept):
            server['wait_for_replicas'] = len(kept)
        followers = {**plan.followers, 'names': kept} if kept else None
        yield replace(plan, followers=followers, clients=clients, faults=faults, server=server)


def _smaller_clients(client: ClientPlan) -> Iterator[ClientPlan]:
    for number in range(len(client.lives)):
        if number or len(client.lives) == 1 and client.lives[0] != [[]]:
            yield replace(client, lives=_without(client.lives, number) or [[[]]])
    for life_number, life in enumerate(client.lives):
        for smaller in _smaller_lives(life):
            lives = list(client.lives)
            lives[life_number] = smaller
            yield replace(client, lives=lives)
    if client.file:
        yield replace(client, file=False)
    if client.objects != 400:
        yield replace(client, objects=400)
    for name in client.options:
        yield replace(client, options={n: v for n, v in client.options.items() if n != name})


def _smaller_lives(life: list[list[list[object]]]) -> Iterator[list[list[list[object]]]]:
    if len(life) > 1:
        for number in range(len(life)):
            yield _without(life, number)
    for number, steps in enumerate(life):
        for smaller in _smaller_steps(steps):
            yield [*life[:number], smaller, *life[number + 1 :]]


def _smaller_steps(steps: list[list[object]]) -> Iterator[list[list[object]]]:
    half = len(steps) // 2
    if half > 1:
        yield steps[:half]
        yield steps[half:]
    for number in range(len(steps)):
        yield _without(steps, number)


def _without(items: list, number: int) -> list:
    return items[:number] + items[number + 1 :]
