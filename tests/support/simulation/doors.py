"""Plans in which calls to the outside fail, and clients live long enough to show what became stale.

Enters: a plan. Leaves: the same, where it is its turn with more faults, and with clients that use a
few objects again and again, in several connections. Fails: never.

An error that leaves something wrong behind shows only when what is wrong is read again, by the
connection in whose memory it is, before anything else puts it right. So there are two threads,
each with a second connection that only reads, few objects, and in half of the plans no faults that
would end connections and have caches checked.
"""

from __future__ import annotations

from random import Random
from typing import Any

from support.simulation import objects
from support.simulation.plan import ClientPlan, Plan, Steps
from support.simulation.strikes import ANY, CALLS

#: The share of plans.
SHARE = 0.15

#: Calls of a storage that change something, which are struck more often.
_COMMITS = ('tpc_finish', 'tpc_vote', 'tpc_begin', 'tpc_abort', 'tpc_finish')

#: What the system says.
_SYSTEM = ('EIO', 'ENOMEM', 'EMFILE', 'ENOBUFS', 'MemoryError')

#: What strikes an application's thread.
_STRIKES = ('EIO', 'ENOMEM', 'MemoryError', 'MemoryError', 'Interrupted', 'TimeIsUp')

#: Doors of servers, those that come often more than once.
_DOORS = ('send', 'send', 'recv', 'recv', 'poll', 'accept', 'spawn', 'socket', 'connect')


def have_doors_fail(plan: Plan) -> None:
    """Change a plan, where it is its turn."""
    random = Random(f'doors {plan.seed}')
    if random.random() >= SHARE:
        return
    if random.random() < 0.5:
        plan.faults.clear()
    if random.random() < 0.3 and not plan.preempted:
        plan.preempted = 0.002  # so that there are points at all statements
    keys = _few(random)
    clients = [client for client in plan.clients if client.name != 'k']
    for client in clients:
        _live_long(client, plan, keys, random)
    for client in random.sample(clients, random.randint(1, 2)):
        for _ in range(random.randint(1, 4)):
            plan.faults.append(_strike(client.name, plan, random))
    if random.random() < 0.5:
        _have_servers_fail(plan, random)


def _few(random: Random) -> list[str]:
    """Return the objects that are used: of each kind some."""
    return [
        *random.sample(objects.LISTS, 2),
        *random.sample(objects.REGISTERS, 1),
        *random.sample(objects.COUNTERS, 1),
        *random.sample(objects.BOXES, 1),
    ]


def _live_long(client: ClientPlan, plan: Plan, keys: list[str], random: Random) -> None:
    """Give a client threads that use the same objects again and again."""
    client.objects = random.choice((3, 400, 400, 400))
    threads = random.choice((1, 2, 2))
    client.lives[0] = [_steps(plan, keys, random) for _ in range(threads)]


def _steps(plan: Plan, keys: list[str], random: Random) -> Steps:
    lists = [key for key in keys if key in objects.LISTS]
    steps: Steps = [['read', *keys], ['beside', *keys]]
    for _ in range(random.randint(4, 8)):
        steps.append(_change(plan, keys, lists, random))
        for _ in range(random.randint(1, 3)):
            steps.append(_look(keys, random))
    return [*steps, ['read', *keys], ['beside', *keys]]


def _change(plan: Plan, keys: list[str], lists: list[str], random: Random) -> list[Any]:
    """Return a step that changes something."""
    kind = random.choice(('append', 'append', 'check', 'add', 'set', 'make', 'savepoint', 'undo'))
    if kind == 'undo' and plan.database is not None:
        kind = 'append'
    if kind == 'append':
        return [kind, random.sample(lists, random.randint(1, 2)), random.choice((0, 500))]
    if kind == 'check':
        return [kind, [lists[0]], lists[1]]
    if kind == 'add':
        return [kind, next(key for key in keys if key in objects.COUNTERS), random.randint(1, 9)]
    if kind == 'set':
        return [kind, next(key for key in keys if key in objects.REGISTERS)]
    if kind == 'make':
        return [kind, next(key for key in keys if key in objects.BOXES), 1]
    if kind == 'savepoint':
        return [kind, *lists, random.random() < 0.5]
    return [kind]


def _look(keys: list[str], random: Random) -> list[Any]:
    """Return a step that looks at what there is."""
    kind = random.choice(('read', 'read', 'beside', 'beside', 'forget', 'sleep', 'prefetch'))
    if kind == 'sleep':
        return [kind, random.choice((0.001, 0.01, 0.1))]
    return [kind] if kind == 'forget' else [kind, *keys]


def _strike(name: str, plan: Plan, random: Random) -> list[Any]:
    call = random.choice((*_COMMITS, *_COMMITS, *CALLS, ANY))
    error = random.choice(_STRIKES)
    most = 300 if plan.preempted and error not in ('EIO', 'ENOMEM') else 12
    after = int(most * random.random() ** 2)
    return [0.4 * random.random(), 'strike', name, call, error, after]


def _have_servers_fail(plan: Plan, random: Random) -> None:
    names = ['server'] if plan.fan is None else ['server', 'fan', 'fan']
    for _ in range(random.randint(1, 3)):
        door = random.choice(_DOORS)
        error = 'RuntimeError' if door == 'spawn' else random.choice(_SYSTEM)
        after, times = random.choice((0, 5, 20, 60)), random.choice((1, 1, 2, 5))
        after += random.randrange(10)
        time = 0.4 * random.random()
        plan.faults.append([time, 'fail', random.choice(names), door, error, after, times])
