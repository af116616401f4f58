"""Draws the plan of a number.

Enters: a number. Leaves: its :class:`~support.simulation.plan.Plan`, always the same. Fails: never.
"""

from __future__ import annotations

from random import Random
from typing import Any

from support.simulation import objects
from support.simulation.doors import have_doors_fail
from support.simulation.followed import have_followers
from support.simulation.plan import ClientPlan, Plan, Steps

#: The last digit of a plan's number -> the share of statements before which threads are switched;
#: such a history takes longer.
PREEMPTED = {4: 0.005, 9: 0.05}

#: Steps that a simulated database does not know.
_OF_FILES = ('undo', 'pack')


def plan_of(seed: int) -> Plan:
    """Return the plan of a number."""
    return _Maker(seed).plan()


class _Maker:
    """Draws a plan."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random(f'plan {seed}')

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def plan(self) -> Plan:
        random = self._random
        plan = Plan(self._seed)
        plan.latency = random.choice((0.0002, 0.001, 0.02))
        plan.switches = random.choice((0.0, 0.01, 0.05, 0.2))
        plan.preempted = PREEMPTED.get(plan.seed % 10, 0.0)
        plan.pieces = random.choice((0.0, 0.02, 0.3))
        plan.server = self._server()
        if self._chance(0.2):
            plan.fan = {
                'read_only': self._chance(0.5),
                'msgpack': self._chance(0.5),
                'file': self._chance(0.5),
            }
        kinds = self._kinds()
        count = random.randint(2, 4)
        plan.clients = [self._client(f'c{number}', plan, kinds) for number in range(1, count + 1)]
        for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4))):
            plan.faults.append(self._fault(plan))
        self._of_disks(plan)
        self._of_connections(plan)
        self._of_stops(plan)
        if plan.fan is not None:
            plan.fan['cache_size'] = Random(f'fan {self._seed}').choice((2_000, 1_000_000))
        self._of_database(plan)
        self._of_chains(plan)
        grouped = Random(f'grouped {self._seed}')
        if grouped.random() < 0.5 and plan.database is None:
            plan.sync = grouped.choice((0.005, 0.05, 0.3))
        have_followers(plan)
        have_doors_fail(plan)
        _have_blobs(plan)
        plan.faults.sort(key=lambda fault: fault[0])
        return plan

    def _server(self) -> dict[str, Any]:
        random = self._random
        return {
            'msgpack': self._chance(0.5),
            'invalidation_queue_size': random.choice((1, 2, 5, 100)),
            'transaction_timeout': random.choice((None, 0.05, 5, 30)),
            'client_conflict_resolution': self._chance(0.15),
        }

    # Clients.

    def _kinds(self) -> list[str]:
        """Return which steps this plan has; plans differ by more than the order of steps."""
        kinds = ['append', 'read', 'move', 'check', 'add', 'set', 'make', 'prefetch', 'old']
        wanted = self._random.sample(kinds, self._random.randint(2, len(kinds)))
        for kind, share in (
            ('undo', 0.3),
            ('pack', 0.1),
            ('ping', 0.5),
            ('reopen', 0.5),
            ('forget', 0.6),
        ):
            if self._chance(share):
                wanted.append(kind)
        if 'undo' in wanted and 'set' not in wanted:
            wanted.append('set')
        return [*wanted, 'append', 'read', 'sleep']

    def _client(self, name: str, plan: Plan, kinds: list[str]) -> ClientPlan:
        random = self._random
        client = ClientPlan(name, [], objects=random.choice((2, 5, 400, 400)))
        client.file = self._chance(0.4)
        client.options = {
            'cache_size': random.choice((2_000, 20_000, 1_000_000)) + 200_000 * client.file,
            'wait_timeout': random.choice((1, 5, 30)),
            'server_sync': self._chance(0.4),
        }
        if self._chance(0.1):
            client.options['timeout'] = random.choice((1, 10))
        if self._chance(0.05):
            client.options['drop_cache_rather_verify'] = True
        if plan.fan is not None:
            client.through = random.choice((['server'], ['fan'], ['server', 'fan']))
            if plan.fan['read_only'] and 'fan' in client.through:
                client.options['read_only_fallback'] = True
        threads = 1 if self._chance(0.75) else 2
        lives = 2 if self._chance(0.3) else 1
        client.lives = [
            [self._steps(plan, kinds) for _ in range(threads if life == 0 else 1)]
            for life in range(lives)
        ]
        return client

    def _steps(self, plan: Plan, kinds: list[str]) -> Steps:
        count = self._random.randint(3, 10)
        steps = []
        for _ in range(count):
            steps.append(self._step(self._random.choice(kinds)))
        return steps

    def _step(self, kind: str) -> list[Any]:
        random = self._random
        lists = random.sample(objects.LISTS, random.randint(1, 2))
        if kind == 'append':
            return [kind, lists, random.choice((0, 0, 500, 5000)), self._vote()]
        if kind == 'move':
            return [kind, *random.sample(objects.ACCOUNTS, 2), random.randint(1, 9), self._vote()]
        if kind == 'check':
            one, *others = random.sample(objects.LISTS, 3)
            return [kind, others, one, self._vote()]
        if kind == 'add':
            return [kind, random.choice(objects.COUNTERS), random.randint(1, 9), self._vote()]
        if kind == 'set':
            return [kind, *random.sample(objects.REGISTERS, random.randint(1, 2))]
        if kind == 'make':
            return [kind, random.choice(objects.BOXES), random.randint(1, 3)]
        if kind == 'sleep':
            return [kind, random.choice((0.001, 0.01, 0.1, 1.0))]
        if kind == 'old':
            return [kind, random.randint(0, 5), *random.sample(objects.KEYS, 5)]
        if kind in ('read', 'prefetch'):
            return [kind, *self._keys()]
        return [kind]

    def _keys(self) -> list[str]:
        if self._chance(0.3):
            return list(objects.KEYS)
        if self._chance(0.3):
            return list(objects.ACCOUNTS)
        return self._random.sample(objects.KEYS, self._random.randint(1, 6))

    def _vote(self) -> Any:
        """Return what another resource in the transaction does; mostly there is none."""
        if self._chance(0.85):
            return None
        return self._random.choice(('no', 0.001, 0.02, 0.1, 6.0))

    # Faults.

    def _fault(self, plan: Plan) -> list[Any]:
        random = self._random
        time = random.choice((0.02, 0.1, 0.5, 2.0)) * random.random()
        names = [client.name for client in plan.clients]
        servers = ['server'] if plan.fan is None else ['server', 'fan']
        client, server = random.choice(names), random.choice(servers)
        seconds = random.choice((0.01, 0.3, 3.0, 20.0)) * (0.5 + random.random())
        kind = random.choices(
            ('reset', 'cut', 'pause', 'crash', 'clock', 'fail', 'latency', 'disk'),
            (6, 4, 2, 6, 1, 3, 1, 2),
        )[0]
        if kind == 'reset':
            one = random.choice([*names, 'fan'] if plan.fan is not None else names)
            return [time, kind, one, None, random.choice((0, 1, 50, 300, 1000))]
        if kind == 'cut':
            one, other = (client, server) if self._chance(0.8) else ('server', servers[-1])
            return [time, kind, one, other, seconds]
        if kind == 'pause':
            return [time, kind, random.choice((client, server)), seconds]
        if kind == 'crash':
            crash = random.choice(('kill', 'kill', 'crash'))
            return [time, kind, random.choice((client, server)), seconds, crash]
        if kind == 'clock':
            return [
                time,
                kind,
                random.choice((client, server)),
                random.choice((-3600, -1, 60, 86400)),
            ]
        if kind == 'latency':
            return [time, kind, random.choice((0.05, 0.5)), seconds]
        if kind == 'disk':
            return [
                time,
                kind,
                server if server == 'fan' else random.choice((client, server)),
                *self._disk(),
                seconds,
            ]
        return self._failing(time, random.choice((client, server)))

    def _disk(self) -> list[Any]:
        """Return what is wrong with a disk, and by how much."""
        random = self._random
        if self._chance(0.5):
            return ['full', random.choice((0, 512, 4096))]
        return ['error', random.randint(0, 30)]

    def _of_disks(self, plan: Plan) -> None:
        """Have a disk fail in some plans: within a call that changes it, or for a while."""
        random = Random(f'disk {self._seed}')
        if random.random() > 0.3:
            return
        name = random.choice(['server', *(client.name for client in plan.clients if client.file)])
        time = random.choice((0.02, 0.1, 0.5, 2.0)) * random.random()
        seconds = random.choice((0.01, 0.3, 3.0)) * (0.5 + random.random())
        if random.random() < 0.7:
            changes = random.choice((1, 3, 10, 40)) + random.randrange(4)
            how = random.choice(('kill', 'crash', 'crash'))
            plan.faults.append([time, 'power', name, changes, seconds, how])
        else:
            what, number = random.choice(
                (('slow', 1), ('slow', 200), ('files', 5), ('files', 8), ('read-only', 0))
            )
            plan.faults.append([time, 'disk', name, what, number, seconds])

    def _of_connections(self, plan: Plan) -> None:
        """Have connections break again and again in some plans, while others commit."""
        random = Random(f'flaky {self._seed}')
        if random.random() < 0.15:
            names = [client.name for client in plan.clients]
            name = random.choice([*names, 'fan'] if plan.fan is not None else names)
            pause, count = random.choice((0.02, 0.1, 0.3)), random.randint(3, 8)
            # often it stands still while it connects again, and the others go on
            stop = 8 * plan.latency * random.random() if random.random() < 0.6 else 0.0
            plan.faults.append([0.3 * random.random(), 'flaky', name, pause, count, stop])

    def _of_stops(self, plan: Plan) -> None:
        """Have a server end in order in some plans, perhaps with little time for its clients."""
        random = Random(f'stop {self._seed}')
        if random.random() < 0.15:
            name = random.choice(
                ('server', 'server', 'fan') if plan.fan is not None else ('server',)
            )
            time = random.choice((0.02, 0.1, 0.5)) * random.random()
            for _ in range(random.randint(1, 2)):
                seconds = random.choice((0.0, 0.01, 0.3, 5.0, 5.0))
                back = random.choice((0.0, 0.3, 3.0))
                plan.faults.append([time, 'stop', name, seconds, back])
                time += seconds + back + random.random()

    def _of_database(self, plan: Plan) -> None:
        """Have the storage in a database in some plans, mostly with another server that commits
        there as well.
        """
        random = Random(f'database {self._seed}')
        if random.random() > 0.3:
            return
        plan.database = {
            'latency': random.choice((0.0005, 0.005, 0.05)),
            'poll': random.choice((0.05, 0.5, 5.0)),
            'shared': random.random() < 0.8,
            'prefetch': Random(f'prefetch {self._seed}').random() < 0.3,
        }
        if plan.server['transaction_timeout'] == 0.05 and plan.database['latency'] > 0.001:
            plan.server['transaction_timeout'] = 5
        for client in plan.clients:
            for life in client.lives:
                life[:] = [[one for one in steps if one[0] not in _OF_FILES] for steps in life]
        if plan.fan is None and random.random() < 0.6:
            plan.fan = {'read_only': False, 'msgpack': random.random() < 0.5, 'file': False}
            for client in plan.clients:
                client.through = random.choice((['server'], ['fan'], ['server', 'fan']))
        for _ in range(random.choice((0, 0, 1, 2))):
            time = random.choice((0.02, 0.1, 0.5)) * random.random()
            seconds = random.choice((0.01, 0.3, 3.0, 15.0))
            plan.faults.append([time, 'database', random.choice(('lost', 'away')), seconds])

    def _of_chains(self, plan: Plan) -> None:
        """Have one more client in some plans, which does not wait for its commits."""
        random = Random(f'chains {self._seed}')
        if random.random() > 0.25:
            return
        client = ClientPlan('k', [], list(plan.clients[-1].through), random.random() < 0.3)
        client.options = {'wait_timeout': 5, 'cache_size': 20_000 + 200_000 * client.file}
        steps: Steps = []
        for _ in range(random.randint(2, 5)):
            keys = random.sample([*objects.LISTS, *objects.REGISTERS], random.randint(2, 6))
            steps.append(['chain', random.choice((0.0, 0.0, 0.001, 0.02)), *keys])
            steps.append(['sleep', random.choice((0.001, 0.05, 0.3))])
        client.lives = [[steps]]
        plan.clients.append(client)
        for name, share in (('reset', 0.3), ('crash', 0.2)):
            if random.random() < share:
                time = random.choice((0.02, 0.1, 0.5)) * random.random()
                if name == 'reset':
                    plan.faults.append([time, name, 'k', None, random.choice((0, 300, 1000))])
                else:
                    plan.faults.append([time, name, 'server', 0.3, 'crash'])

    def _failing(self, time: float, process: str) -> list[Any]:
        random = self._random
        door = random.choice(('send', 'recv', 'connect', 'accept', 'spawn', 'poll'))
        error = 'RuntimeError' if door == 'spawn' else random.choice(('OSError', 'MemoryError'))
        return [time, 'fail', process, door, error, random.randint(0, 20), random.randint(1, 2)]


def _have_blobs(plan: Plan) -> None:
    """Have clients write and read blobs in some plans, between their other steps."""
    random = Random(f'blobs {plan.seed}')
    if random.random() > 0.15 or plan.database is not None or plan.has_kind('doors'):
        return
    plan.blobs = True
    # a plain FileStorage does not sync the files of blobs: after a power failure some are missing
    plan.sync = plan.sync or random.choice((0.005, 0.05, 0.3))
    size = random.choice(objects.SIZES)
    for client in plan.clients:
        client.options['blob_cache_size'] = random.choice((None, 1, 10_000, 1_000_000))
        for life in client.lives:
            for steps in life:
                for place in range(len(steps), -1, -1):
                    keys = random.sample(objects.BLOBS, random.randint(1, 2))
                    if random.random() < 0.3:
                        steps.insert(place, ['blob', size, *keys])
                    elif random.random() < 0.3:
                        steps.insert(place, [random.choice(('read', 'beside')), *keys])
