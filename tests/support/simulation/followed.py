"""Plans whose storage has followers, from which clients read, and which are promoted.

Enters: a plan. Leaves: the same, where it is its turn with followers, clients that know all
servers, and faults of these. Fails: never.

Where a follower is promoted, commits mostly wait for followers and are refused without them, so
that nothing is lost; and a primary that is lost is not started again before, since it would show
what no follower has acknowledged. In other plans they do not wait, or not for long, and the history
says what was lost (:mod:`support.simulation.losses`).
"""

from __future__ import annotations

from random import Random
from typing import Any

from support.simulation import objects
from support.simulation.plan import Plan

#: The share of plans.
SHARE = 0.15

#: The share of those with promotions in which commits may be lost.
LOSING = 0.3

#: Faults that end a server, or of its disk.
_ENDS = ('crash', 'power', 'stop', 'disk')


def have_followers(plan: Plan) -> None:
    """Change a plan, where it is its turn."""
    random = Random(f'followers {plan.seed}')
    if random.random() >= SHARE or plan.database is not None:
        return
    names = ['f1', 'f2'][: random.choice((1, 1, 2))]
    is_promoted = random.random() < 0.5
    plan.followers = {
        'names': names,
        'copied': random.random() < 0.8,
        'all': is_promoted or random.random() < 0.5,
        'chained': random.random() < 0.5,
    }
    _leave_fan_out(plan)
    _have_servers_wait(plan, is_promoted, random)
    for client in plan.clients:
        _have_read(client, ['server', *names], random)
    for _ in range(random.choice((0, 1, 2, 3))):
        plan.faults.append(_fault(plan, random))
    if is_promoted:
        _promote(plan, random)
        _lose(plan, Random(f'losses {plan.seed}'))


def _leave_fan_out(plan: Plan) -> None:
    plan.fan = None
    plan.faults[:] = [fault for fault in plan.faults if 'fan' not in fault]
    for client in plan.clients:
        client.options.pop('read_only_fallback', None)


def _have_servers_wait(plan: Plan, is_promoted: bool, random: Random) -> None:
    """Have commits wait for followers."""
    if is_promoted or random.random() < 0.4:
        assert plan.followers is not None
        # a follower of a follower has no one to whom it could acknowledge anything that counts
        most = len(plan.followers['names']) if plan.followers['all'] else 1
        plan.server['wait_for_replicas'] = random.randint(1, most)
        plan.server['replica_timeout'] = random.choice((0.3, 2, 10))
        plan.server['replica_timeout_action'] = 'refuse'
    if not is_promoted and random.random() < 0.5:
        plan.server['replica_timeout_action'] = 'warn'


def _have_read(client: Any, servers: list[str], random: Random) -> None:
    """Have a client know all servers, and mostly read from a follower."""
    client.through = random.sample(servers, len(servers))
    if random.random() < 0.8:
        client.options['prefer'] = random.choice(('replica', 'replica', 'replica', 'nearest'))
        client.options['prefer_wait'] = random.choice((0.05, 1, 1, 5))
    if random.random() < 0.15:
        client.options['read_only_fallback'] = True
    for life in client.lives:
        for steps in life:
            _look_again(steps, random)


def _look_again(steps: list[list[Any]], random: Random) -> None:
    """Have a thread read what it has changed, in another connection too."""
    for number in range(len(steps), 0, -1):
        changed = [one for one in _names(steps[number - 1]) if one in objects.OIDS]
        if changed and random.random() < 0.5:
            steps.insert(number, [random.choice(('read', 'beside')), *changed])


def _names(step: list[Any]) -> list[str]:
    found = []
    for one in step[1:]:
        found += one if isinstance(one, list) else [one] if isinstance(one, str) else []
    return found


def _fault(plan: Plan, random: Random) -> list[Any]:
    """Return a fault of a follower, or between servers."""
    assert plan.followers is not None
    follower = random.choice(plan.followers['names'])
    client = random.choice(plan.clients).name
    time = random.choice((0.02, 0.1, 0.5, 2.0)) * random.random()
    seconds = random.choice((0.01, 0.3, 3.0, 20.0)) * (0.5 + random.random())
    kind = random.choice(('reset', 'cut', 'cut', 'away', 'pause', 'crash', 'flaky', 'slow', 'stop'))
    if kind == 'reset':
        return [time, kind, follower, None, random.choice((0, 1, 50, 300, 1000))]
    if kind == 'cut':
        return [time, 'cut', 'server', follower, seconds]
    if kind == 'away':
        return [time, 'cut', client, random.choice((follower, 'server')), seconds]
    if kind == 'pause':
        return [time, kind, random.choice((follower, follower, 'server')), seconds]
    if kind == 'crash':
        how = random.choice(('kill', 'crash'))
        return [time, kind, random.choice((follower, 'server')), seconds, how]
    if kind == 'flaky':
        return [time, kind, follower, random.choice((0.02, 0.1)), random.randint(3, 8), 0.0]
    if kind == 'slow':
        return [time, 'disk', follower, 'slow', random.choice((1, 20, 200)), seconds]
    return [time, kind, follower, random.choice((0.0, 5.0)), random.choice((0.0, 3.0))]


def _promote(plan: Plan, random: Random) -> None:
    """Have followers be promoted, once or more often."""
    count = random.choice((1, 1, 1, 2, 3))
    assert plan.followers is not None
    ended = {'server'} if count == 1 else {'server', *plan.followers['names']}
    plan.faults[:] = [
        fault for fault in plan.faults if not (fault[1] in _ENDS and fault[2] in ended)
    ]
    time = random.choice((0.05, 0.3, 1.0)) * random.random()
    for _ in range(count):
        how = random.choice(('kill', 'kill', 'crash', 'stop', 'cut'))
        seconds, back = random.choice((0.0, 0.1, 2.0)), random.choice((0.0, 0.5, 5.0))
        plan.faults.append([time, 'promote', how, seconds, back])
        time += 0.5 + 3 * random.random()
    _leave_other_cuts(plan)


def _leave_other_cuts(plan: Plan) -> None:
    """Have servers cut off from each other by the operator alone, where that is so."""
    assert plan.followers is not None
    if any(fault[1] == 'promote' and fault[2] == 'cut' for fault in plan.faults):
        servers = {'server', *plan.followers['names']}
        plan.faults[:] = [
            fault for fault in plan.faults if fault[1] != 'cut' or not servers >= set(fault[2:4])
        ]


def _lose(plan: Plan, random: Random) -> None:
    """Have commits not wait for followers, or not for long, in some plans."""
    if random.random() >= LOSING:
        return
    assert plan.followers is not None
    plan.followers['loses'] = True
    if random.random() < 0.5:
        for option in ('wait_for_replicas', 'replica_timeout', 'replica_timeout_action'):
            plan.server.pop(option, None)
    else:
        plan.server['replica_timeout'] = 0.3
        plan.server['replica_timeout_action'] = 'warn'
    for fault in plan.faults:
        if fault[1] == 'promote' and random.random() < 0.6:
            fault[2:4] = 'cut', random.choice((0.1, 1.0, 3.0))  # commits go on meanwhile
    _leave_other_cuts(plan)
    # a clock that has jumped would have clients wait for the new primary to be as far
    plan.faults[:] = [fault for fault in plan.faults if fault[1] != 'clock']
    for client in plan.clients:
        for life in client.lives:
            # what was packed away is in no file of what was lost
            life[:] = [[step for step in steps if step[0] != 'pack'] for steps in life]
