"""The servers of a history in which a storage has followers: who is the primary, and who makes one.

Enters: the cast, and when a primary is gone for good. Leaves: storages for servers that start; the
promotion of the follower that has the most, as ``zeo promote`` does it; the old primary as a
follower. Fails: never by what the product does.

The operator waits until each other server answers and has lost its primary, as ``zeo promote``
wants it, so that none of them gets more behind the operator's back.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from ZODB.POSException import StorageError

from support.simulation.checks import Anomaly
from support.simulation.data_file import DATA, saved_files
from support.simulation.ending import commit_afresh
from support.simulation.history import database
from support.simulation.objects import value_of
from ZEO.Exceptions import ClientDisconnected
from ZEO.files import remove_if_there
from ZEO.net.addresses import show
from ZEO.replica.primary import Primary
from ZEO.replica.state_file import path_of
from ZEO.replica.storage import Replica
from ZEO.wire.extensions import PRIMARY

#: Seconds that a server may take to answer the operator, and between two attempts.
_PATIENCE, _AGAIN = 5.0, 1.0

#: Seconds in which each follower has everything when nothing is wrong any more.
LAST_WAIT = 300.0


class Replication:
    """That of one history.

    :param cast: who plays.
    """

    def __init__(self, cast: Any, ports: dict[str, Any]) -> None:
        self._cast = cast
        self._options = cast.plan.followers or {'names': []}
        self._ports = ports
        #: The names of all servers.
        self.servers = ['server', *self._options['names']]
        #: The name of the one that takes writes.
        self.primary = 'server'
        self._is_calm = False
        self._old = ''  # the primary that is being replaced
        self._replaced: set[str] = set()  # servers that have been a primary, and are not

    # Servers.

    def holds(self, name: str) -> bool:
        """Return whether a server must not be started: another one is to take its place."""
        return name == self._old

    def open(self, name: str, process: Any) -> Any:
        """Return the storage of a server that starts."""
        if name not in self._options['names'] and name not in self._replaced:
            return self._cast.store.open(process)
        if name in self._replaced:  # it may have been promoted itself
            remove_if_there(path_of(DATA))
        return Replica(
            self._upstream(name),
            DATA,
            blob_dir=self._cast.store.blob_dir,
            discard_lost=True,
            label=name,
            system=process.system,
            wait_timeout=2,
            timeout=3,
            min_disconnect_poll=0.05,
            max_disconnect_poll=0.2,
        )

    def _upstream(self, name: str) -> list[Any]:
        """Return the addresses that a follower is given."""
        if self._options['all']:
            return [self._ports[one] for one in self.servers]
        before = self.servers[self.servers.index(name) - 1] if self._options['chained'] else ''
        return [self._ports[before or 'server']]

    # Clients.

    def way(self, storage: Any) -> Any:
        """Return the connection of a client to the primary; None when there is none."""
        link = getattr(storage, '_primary', None) or storage._server
        connection = link.connection
        if connection is None or connection.lost is not None:
            return None
        is_primary = connection.where == show(self._ports[self.primary])
        return connection if is_primary and not self._old else None

    # The operator.

    def replace(self, how: str, seconds: float, back: float) -> None:
        """Lose the primary, and have another server take its place.

        :param how: ``kill``, ``crash`` or ``stop``; ``cut``: it is only cut off from the others.
        :param seconds: until the operator begins.
        :param back: seconds from the promotion until the old one is back.
        """
        if self._old or self._is_calm:
            return
        if not any(self._is_whole(name) for name in self.servers if name != self.primary):
            # no one relies on followers that have not copied everything yet
            self._cast.world.later(0.1, self.replace, how, seconds, back)
            return
        cast, old = self._cast, self.primary
        self._old = old
        cast.begins()
        if how == 'cut':
            for name in self.servers:
                if name != old:
                    cast.world.network.cut(old, name)
        elif how == 'stop':
            cast.stop(old, 2.0, 0.0)
        else:
            cast.faults.crash(old, how)
        process = cast.world.process('operator')
        process.start(self._operate, 'zeo promote', process.system, seconds, back)

    def _is_whole(self, name: str) -> bool:
        """Return whether a server ever had all that its primary had, as its disk says."""
        try:
            state = self._cast.disks[name].find(path_of(DATA)).data
        except FileNotFoundError:
            return False
        return bool(state) and bool(json.loads(state.decode())['whole'])

    def calm(self) -> None:
        """All cuts are over: an old primary must be gone by then."""
        self._is_calm = True
        if self._old:
            self._cast.faults.crash(self._old, 'kill')

    def _operate(self, system: Any, seconds: float, back: float) -> None:
        system.sleep(seconds)
        while not self._promotes(system):
            system.sleep(_AGAIN)
        if self._options.get('loses'):
            self._go_past(system)
        system.sleep(back)
        old, self._old = self._old, ''
        self._replaced.add(old)
        if not self._cast.processes[old].dead:
            self._cast.faults.crash(old, 'kill')
        for name in self.servers:
            self._cast.world.network.heal(old, name)
        self._cast.restart(old)
        self._cast.ends()

    def _go_past(self, system: Any) -> None:
        """Have another program commit: who has seen what is lost waits for that."""
        fresh = self._cast.world.process('fresh')
        thread = fresh.start(partial(commit_afresh, self._cast, 'fresh'), 'fresh', fresh)
        while thread.is_alive():
            system.sleep(0.1)
        fresh.crash()

    def _promotes(self, system: Any) -> bool:
        """Have the server that has the most be the primary; return whether that has succeeded."""
        asked: dict[str, Primary] = {}
        try:
            for name in self.servers:
                if name != self._old:
                    asked[name] = Primary(self._ports[name], _options(), system)
                    asked[name].connect(_PATIENCE)
            chosen = self._choose(asked)
            if chosen is None:
                return False
            if asked[chosen].role() != PRIMARY:
                tid = asked[chosen].call('promote')
                self._cast.world.note('promoted', chosen, tid.hex())
                self._cast.history.promotions.append([self._old, tid.hex()])
            self.primary = chosen
            self._replaced.discard(chosen)
            self._cast.counts['promoted'] += 1
            return True
        except (ClientDisconnected, StorageError):
            return False
        finally:
            for one in asked.values():
                one.close()

    def _choose(self, asked: dict[str, Primary]) -> str | None:
        """Return the name of the one to promote; None where that must wait."""
        for name, one in asked.items():
            if one.role() == PRIMARY:
                return name
        if any(one.follows() for one in asked.values()):
            return None
        whole = [name for name, one in asked.items() if one.is_whole()]
        return max(whole, key=lambda name: asked[name].last(), default=None)

    # The end.

    def look(self, process: Any) -> None:
        """Wait until all followers have everything."""
        for name in self.servers:
            if name != self.primary and not self._has_all(name, process.system):
                self._cast.problems.append(Anomaly('never catches up', name))

    def _has_all(self, name: str, system: Any) -> bool:
        until = system.now() + LAST_WAIT
        while system.now() < until:
            one = Primary(self._ports[name], _options(), system)
            try:
                one.connect(_PATIENCE)
                if one.last() >= self._cast.last_tid() and one.is_replica():
                    return True
            except (ClientDisconnected, StorageError):
                pass
            finally:
                one.close()
            system.sleep(_AGAIN)
        return False

    def read(self, process: Any, name: str) -> None:
        """Note what is in the file of a follower."""
        found = database(self._cast.store.transactions(), value_of, self._cast.store.blobs())
        self._cast.history.copies[name] = found.transactions or []
        self.read_saved(process, name)

    def read_saved(self, process: Any, name: str) -> None:
        """Note what a server has saved that the primary after it lacked."""
        for path in saved_files(self._cast.disks[name]):
            iterator = self._cast.store.transactions(path)
            found = database(iterator, value_of).transactions or []
            self._cast.history.saved.setdefault(name, []).append(found)


def _options() -> dict[str, Any]:
    return {'storage': '1', 'wait_timeout': _PATIENCE, 'disconnect_poll': 0.1}
