"""Which transaction depends on which, found from values alone, in the manner of Elle.

Enters: a history whose lists get elements that are unique. Leaves: as (kind, text): reads that no
order of the appends explains, and cycles that snapshot isolation forbids. Fails: never.

The elements of a list tell its versions, in order. So transaction B depends on A where B has
appended behind A (ww), has read what A has appended (wr), or A has read a version that B's append
has replaced (rw). To these come the order of a client's own attempts, and that of an acknowledged
commit and a round trip that began after it. Forbidden are, with the names of Adya's thesis:

- G1a: something refused was read; G1b: half a transaction was read
- G0: a cycle of ww; G1c: a cycle without rw
- G-single, G-nonadjacent: a cycle in which no two rw follow each other

A cycle with two rw behind each other is write skew, which snapshot isolation allows. A read with
``readCurrent`` makes its rw an order of commits, since it was checked at the commit: such a step
may follow an rw, but no rw follows it, since the writer may have begun before that commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from support.simulation.history import Attempt, History

#: From a node to another one, and why.
Edges = dict[Any, list[tuple[Any, str]]]


def anomalies(history: History) -> Iterator[tuple[str, str]]:
    """Return what is wrong, as (kind, text)."""
    lists = Lists(history)
    yield from lists.anomalies
    yield from _cycles(_Graph(history, lists))


class Lists:
    """The lists of a history: their elements in the order in which they were appended."""

    def __init__(self, history: History) -> None:
        self.anomalies: list[tuple[str, str]] = []
        self.orders: dict[str, list[Any]] = {}
        self.writers: dict[tuple[str, Any], Attempt] = {}
        self._undone = _undone_keys(history)
        for attempt in history.attempts:
            for key, elements in attempt.appended().items():
                for element in elements:
                    self.writers[key, element] = attempt
        keys = {key for key, _ in self.writers} - self._undone
        reads = [
            (attempt, key, value or [])
            for attempt in history.attempts
            for key, value in attempt.reads()
            if key in keys
        ]
        # an acknowledged append follows what its attempt has read
        reads += [
            (attempt, key, value)
            for attempt in history.attempts
            if attempt.is_acknowledged
            for key, value in attempt.written().items()
            if key in keys and attempt.read(key) is not None
        ]
        finals = {
            key: transaction.values[key]
            for transaction in history.transactions or ()
            for key in transaction.values.keys() & keys
        }
        self._find_orders(reads, finals)
        # those that have happened: acknowledged, or seen by others
        self.happened = {attempt.id for attempt in history.attempts if attempt.is_acknowledged}
        for key, order in self.orders.items():
            self.happened.update(self.writers[key, element].id for element in order)

    def _find_orders(
        self, reads: list[tuple[Attempt, str, list[Any]]], finals: dict[str, list[Any]]
    ) -> None:
        longest: dict[str, list[Any]] = dict(finals)
        for _, key, value in reads:
            if len(value) > len(longest.get(key, ())):
                longest[key] = value
        for attempt, key, value in reads:
            if value != longest.get(key, [])[: len(value)]:
                text = f'{attempt.id} had {key} = {value}, not {longest[key]}'
                self._found('incompatible order', text)
            self._check_last(attempt, key, value)
        for key, value in longest.items():
            if finals and len(value) > len(finals.get(key, ())):
                self._found('lost', f'{key} was {value}, and is {finals.get(key)} in the end')
            self.orders[key] = self._known(key, value)

    def _known(self, key: str, value: list[Any]) -> list[Any]:
        """Return those elements that were appended by someone; the others are anomalies."""
        known = []
        for element in value:
            writer = self.writers.get((key, element))
            if writer is None:
                self._found('made up', f'{key} has {element}, which no client has appended')
                continue
            if not writer.may_be_there:
                self._found('G1a', f'{key} has {element} of {writer.id}, which was refused')
            if element in known:
                self._found('twice', f'{key} has {element} of {writer.id} twice')
                continue
            known.append(element)
        return known

    def _check_last(self, attempt: Attempt, key: str, value: list[Any]) -> None:
        if value:
            writer = self.writers.get((key, value[-1]))
            if writer is not None and writer.appended()[key][-1] != value[-1]:
                self._found(
                    'G1b', f'{attempt.id} read {key} = {value}, in the midst of {writer.id}'
                )

    def _found(self, kind: str, text: str) -> None:
        if (kind, text) not in self.anomalies:
            self.anomalies.append((kind, text))


def _undone_keys(history: History) -> set[str]:
    """Return the lists that an undo may have made shorter."""
    by_id = {attempt.id: attempt for attempt in history.attempts}
    return {
        key
        for attempt in history.attempts
        for one in attempt.undone()
        if one in by_id
        for key in by_id[one].appended()
    }


class _Graph:
    """Nodes are the ids of attempts, and points of time between them."""

    def __init__(self, history: History, lists: Lists) -> None:
        self.edges: Edges = {}
        self._lists = lists
        self._attempts = history.attempts
        self._add_versions()
        self._add_times('session', lambda one: one.client, lambda one: one.began)
        self._add_times('acknowledged', lambda one: '', lambda one: one.synced)

    def _add(self, one: Any, other: Any, why: str) -> None:
        if one != other:
            self.edges.setdefault(one, []).append((other, why))

    def _add_versions(self) -> None:
        lists = self._lists
        for key, order in lists.orders.items():
            for one, other in zip(order, order[1:], strict=False):
                self._add(lists.writers[key, one].id, lists.writers[key, other].id, 'ww')
        for attempt in self._attempts:
            current = {step[1] for step in attempt.steps if step[0] == 'rc'}
            happened = attempt.id in lists.happened
            for key, value in attempt.reads():
                if key in lists.orders:
                    rw = 'current' if happened and key in current else 'rw'
                    self._add_read(attempt, key, value or [], rw)

    def _add_read(self, attempt: Attempt, key: str, value: list[Any], rw: str) -> None:
        order, writers = self._lists.orders[key], self._lists.writers
        if value and (key, value[-1]) in writers:
            self._add(writers[key, value[-1]].id, attempt.id, 'wr')
        if len(value) < len(order):
            following = writers[key, order[len(value)]]
            self._add(attempt.id, following.id, rw)

    def _add_times(self, why: str, group: Any, since: Any) -> None:
        """Let everything that has ended come before what has begun later, in its group.

        Points of time are nodes in a row, so that there are as many edges as attempts.
        """
        groups: dict[str, list[tuple[float, int, Attempt]]] = {}
        for attempt in self._attempts:
            rows = groups.setdefault(group(attempt), [])
            reads = attempt.outcome != 'unknown' and why == 'session'
            if attempt.ended is not None and (reads or attempt.is_acknowledged):
                rows.append((attempt.ended, 0 if attempt.ended > attempt.began else 2, attempt))
            if since(attempt) is not None and attempt.kind != 'historical':
                rows.append((since(attempt), 1, attempt))
        for name, rows in groups.items():
            rows.sort(key=lambda row: row[:2])
            for number, (_, begins, attempt) in enumerate(rows):
                point = (why, name, number)
                if number:
                    self._add((why, name, number - 1), point, why)
                if begins == 1:
                    self._add(point, attempt.id, why)
                elif attempt.kind != 'historical':
                    self._add(attempt.id, point, why)


def _cycles(graph: _Graph) -> Iterator[tuple[str, str]]:
    """Return one cycle of each kind, the worst kinds first."""
    for kind, wanted, rw in (
        ('G0', ('ww',), False),
        ('G1c', ('ww', 'wr', 'current', 'session', 'acknowledged'), False),
        ('G-single', ('ww', 'wr', 'current', 'session', 'acknowledged'), True),
    ):
        cycle = _find_cycle(_product(graph.edges, wanted, rw))
        if cycle is not None:
            count = sum(node[1] for node, _ in cycle)
            name = 'G-nonadjacent' if kind == 'G-single' and count > 1 else kind
            yield name, _shown(cycle)
            return


def _product(edges: Edges, wanted: tuple[str, ...], rw: bool) -> Edges:
    """Return the graph whose nodes also say whether an rw has led to them, or a ``readCurrent``:
    no rw follows.
    """
    found: Edges = {}
    for one, others in edges.items():
        for other, why in others:
            if why == 'current' and why in wanted:
                found.setdefault((one, False), []).append(((other, rw), why))
                if rw:
                    found.setdefault((one, True), []).append(((other, True), why))
            elif why in wanted:
                found.setdefault((one, False), []).append(((other, False), why))
                if rw:
                    found.setdefault((one, True), []).append(((other, False), why))
            elif why == 'rw' and rw:
                found.setdefault((one, False), []).append(((other, True), why))
    return found


def _find_cycle(edges: Edges) -> list[tuple[Any, str]] | None:
    """Return a short cycle as (node, why it leads to the next), or None."""
    component = _in_cycles(edges)
    best: list[tuple[Any, str]] | None = None
    for start in component[:50]:  # short ones are readable; not each has to be looked at
        cycle = _shortest(edges, start, set(component))
        if cycle is not None and (best is None or len(cycle) < len(best)):
            best = cycle
    return best


def _in_cycles(edges: Edges) -> list[Any]:
    """Return the nodes that are left when those without a way in or out are taken away."""
    incoming: dict[Any, int] = {}
    for others in edges.values():
        for other, _ in others:
            incoming[other] = incoming.get(other, 0) + 1
    ready = [node for node in edges if not incoming.get(node)]
    gone = set(ready)
    while ready:
        for other, _ in edges.get(ready.pop(), ()):
            incoming[other] -= 1
            if not incoming[other]:
                gone.add(other)
                ready.append(other)
    return [node for node in edges if node not in gone]


def _shortest(edges: Edges, start: Any, within: set[Any]) -> list[tuple[Any, str]] | None:
    """Return the shortest way from a node back to it."""
    before: dict[Any, tuple[Any, str]] = {}
    row = [start]
    while row:
        following = []
        for node in row:
            for other, why in edges.get(node, ()):
                if other == start:
                    return _way_back(before, start, node, why)
                if other not in before and other in within:
                    before[other] = node, why
                    following.append(other)
        row = following
    return None


def _way_back(before: Any, start: Any, node: Any, why: str) -> list[tuple[Any, str]]:
    way = [(node, why)]
    while node != start:
        node, why = before[node]
        way.append((node, why))
    return way[::-1]


def _shown(cycle: list[tuple[Any, str]]) -> str:
    """Return a cycle as text, with its points of time left out."""
    parts = [f'{node[0]} -{why}->' for node, why in cycle if isinstance(node[0], str)]
    first = next((node[0] for node, _ in cycle if isinstance(node[0], str)), '')
    return f'{" ".join(parts)} {first}'
