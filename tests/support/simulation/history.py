"""What clients did and saw, and what the database holds in the end: plain data, as JSON lines too.

Enters: the calls of a client's program (:class:`Recorder`), or the lines that those have written.
Leaves: a :class:`History` for :mod:`support.simulation.checks`. Fails: ValueError for lines that
are not a history.

Times are seconds of one clock that all clients share: virtual ones in the simulator,
``time.monotonic`` among the processes of one machine. Tids and oids are hexadecimal text, so that
they can be compared and printed. Keys name objects; values are what JSON knows.

An attempt is one transaction that a client has tried, or one other call. Its id is the description
of the transaction on the server: that is how the attempt is found again in the database. What it
does is a list of steps:

``['r', key, value]``
    read; None for an object that does not exist
``['rc', key]``
    ``readCurrent``: what was read has to be current still when this is committed
``['append', key, element]``
    one element, unique in the history, is added to a list
``['w', key, value]``
    another value replaces the one before
``['add', key, amount]``
    a counter whose conflicts are resolved goes up
``['new', key, oid]``
    an object is made
``['undo', id]``
    the transaction of another attempt is undone
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from typing import Any

#: What may become of an attempt: it is acknowledged; it has failed, and says so; it may have
#: happened or not; it has only read.
COMMITTED, REFUSED, UNKNOWN, READ = 'committed', 'refused', 'unknown', 'read'

Step = list[Any]


@dataclass
class Attempt:
    """One transaction that was tried, or one other call.

    :param id: unique in the history.
    :param client: those attempts that share a client storage have the same.
    :param kind: ``transaction``; ``historical``, which reads at a tid of its own choice; or the
        name of another call.
    :param began: when it was called.
    :param started: when its snapshot was known.
    :param synced: when that round trip to the server began that ended last before the snapshot was
        taken.
    :param snapshot: the last transaction that it can see.
    :param committing: from when on the server may commit it.
    :param ended: when it returned or raised; None: never.
    :param tid: of its transaction.
    :param within: seconds that it may take.
    :param killed: whether its process was killed meanwhile.
    :param after: the id of the attempt without which it must not be committed.
    """

    id: str
    client: str
    kind: str = 'transaction'
    began: float = 0.0
    started: float | None = None
    synced: float | None = None
    snapshot: str | None = None
    steps: list[Step] = field(default_factory=list)
    committing: float | None = None
    ended: float | None = None
    outcome: str | None = None
    tid: str | None = None
    error: str = ''
    within: float | None = None
    killed: bool = False
    after: str | None = None

    def __str__(self) -> str:
        return f'{self.id} ({self.kind})'

    @property
    def is_acknowledged(self) -> bool:
        return self.outcome == COMMITTED

    @property
    def may_be_there(self) -> bool:
        """Whether it may have happened, for all that its client knows."""
        return self.outcome in (COMMITTED, UNKNOWN) or (
            self.outcome is None and self.committing is not None
        )

    def reads(self) -> Iterator[tuple[str, Any]]:
        """Return what it read of others: before it has changed the same object itself."""
        changed = set()
        for step in self.steps:
            if step[0] == 'r' and step[1] not in changed:
                yield step[1], step[2]
            elif step[0] in ('append', 'w', 'add'):
                changed.add(step[1])

    def read(self, key: str) -> Any:
        """Return what it read of an object at first; None when it did not."""
        return next((value for name, value in self.reads() if name == key), None)

    def appended(self) -> dict[str, list[Any]]:
        """Return the elements that it adds to lists, by their keys."""
        found: dict[str, list[Any]] = {}
        for step in self.steps:
            if step[0] == 'append':
                found.setdefault(step[1], []).append(step[2])
        return found

    def written(self) -> dict[str, Any]:
        """Return what it stores, by keys, but for counters."""
        values: dict[str, Any] = {}
        for step in self.steps:
            if step[0] == 'append':
                before = values[step[1]] if step[1] in values else self.read(step[1])
                values[step[1]] = [*(before or ()), step[2]]
            elif step[0] == 'w':
                values[step[1]] = step[2]
        return values

    def added(self) -> dict[str, int]:
        """Return by how much it moves counters, by keys."""
        amounts: dict[str, int] = {}
        for step in self.steps:
            if step[0] == 'add':
                amounts[step[1]] = amounts.get(step[1], 0) + step[2]
        return amounts

    def undone(self) -> list[str]:
        """Return the ids of what it undoes."""
        return [step[1] for step in self.steps if step[0] == 'undo']

    @property
    def changes(self) -> bool:
        """Whether it would change anything."""
        return any(step[0] in ('append', 'w', 'add', 'undo') for step in self.steps)


@dataclass
class Transaction:
    """One transaction of the database in the end.

    :param id: its description: the attempt's.
    :param values: what its records hold, by keys.
    """

    tid: str
    id: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class CacheContents:
    """The client cache of one client in the end.

    :param tid: the last transaction that it knows.
    :param records: each as [oid, tid, the tid at which it ends or None, digest of the data].
    """

    client: str
    tid: str
    records: list[list[Any]] = field(default_factory=list)


@dataclass
class History:
    """Everything that is checked.

    :param accounts: keys whose values always have the sum `total`.
    :param counters: keys of counters whose conflicts are resolved.
    :param transactions: what the database holds in the end, the oldest first; None: not known.
    :param records: its revisions, [tid, digest of the data] by oid, the oldest first.
    :param packed: the database does not hold what was not current any more at this tid.
    :param is_polled: whether a server finds out now and then what others have committed: then its
        clients may be sent several transactions as one, and be just before one of them, or behind;
        what they keep may end before it has changed.
    :param copies: what followers hold in the end, by their names.
    :param saved: by the names of servers, what each of their files holds that has transactions
        which the next primary lacked.
    :param promotions: the old primary, and the last transaction of the one in its place.
    """

    attempts: list[Attempt] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    total: int = 0
    counters: list[str] = field(default_factory=list)
    transactions: list[Transaction] | None = None
    records: dict[str, list[list[str]]] = field(default_factory=dict)
    packed: str = ''
    is_polled: bool = False
    caches: list[CacheContents] = field(default_factory=list)
    copies: dict[str, list[Transaction]] = field(default_factory=dict)
    saved: dict[str, list[list[Transaction]]] = field(default_factory=dict)
    promotions: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.copies = {
            name: [_made(Transaction, item) for item in items]
            for name, items in self.copies.items()
        }
        self.saved = {
            name: [[_made(Transaction, item) for item in items] for items in files]
            for name, files in self.saved.items()
        }
        if self.transactions is not None:
            self.transactions = [_made(Transaction, item) for item in self.transactions]
        self.caches = [_made(CacheContents, item) for item in self.caches]
        self.attempts = [_made(Attempt, item) for item in self.attempts]

    def lines(self) -> Iterator[str]:
        """Return it as lines of JSON, without their ends."""
        head = {name: value for name, value in asdict(self).items() if name != 'attempts'}
        yield _line(head)
        for attempt in self.attempts:
            yield _line(asdict(attempt))

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> History:
        """Return the history of :meth:`lines`, or of the lines of several recorders.

        A line with the id of an earlier one tells more about the same attempt; one without an id
        tells something about the whole.

        :raises ValueError: when a line is something else.
        """
        head: dict[str, Any] = {}
        attempts: dict[str, dict[str, Any]] = {}
        for line in lines:
            item = json.loads(line)
            if not isinstance(item, dict):
                raise ValueError(f'a line of a history is {line[:80]!r}, not an object')
            if 'id' in item:
                attempts.setdefault(item['id'], {}).update(item)
            else:
                head.update(item)
        known = {one.name for one in fields(cls)}
        if not head.keys() <= known:
            raise ValueError(f'a history does not have {sorted(head.keys() - known)}')
        return cls(**{**head, 'attempts': list(attempts.values())})


def _made(cls: Any, item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    try:
        return cls(**item)
    except TypeError as error:
        raise ValueError(f'{item} is not a {cls.__name__}: {error}') from None


def _line(item: dict[str, Any]) -> str:
    return json.dumps(item, separators=(',', ':'))


class Recorder:
    """Writes down what one client does, as it does it.

    :param client: its name; of all threads and connections that share a client storage.
    :param now: returns the time in seconds.
    :param attempts: a list that gets each attempt as it begins.
    :param write: is called with a line of JSON when an attempt begins, when it may be committed
        from now on, and when it has ended: the process may be killed at any time.
    """

    def __init__(
        self,
        client: str,
        now: Callable[[], float],
        attempts: list[Attempt] | None = None,
        write: Callable[[str], Any] | None = None,
    ) -> None:
        self.client = client
        self.now = now
        self.attempts: list[Attempt] = [] if attempts is None else attempts
        self.synced: float | None = None  # when the last round trip that has ended was begun
        self._write = write
        self._count = 0

    def begin(self, kind: str = 'transaction', within: float | None = None) -> Attempt:
        """An attempt begins; return it, for its steps."""
        self._count += 1
        attempt = Attempt(
            f'{self.client}.{self._count}', self.client, kind, self.now(), within=within
        )
        self.attempts.append(attempt)
        self._tell(attempt)
        return attempt

    def round_trip(self, call: Callable[[], Any], path: Callable[[], object] | None = None) -> None:
        """Make a call that returns once the server has answered; what it raises passes.

        :param path: returns what stands for the way to the database, None where there is none: the
            call counts if that is the same before and after it.
        """
        began, before = self.now(), path and path()
        call()
        if path is not None and (before is None or path() is not before):
            return
        if self.synced is None or began > self.synced:
            self.synced = began

    def started(self, attempt: Attempt, snapshot: bytes) -> None:
        """Its snapshot is known.

        :param snapshot: the last transaction that it can see.
        """
        attempt.started, attempt.synced = self.now(), self.synced
        attempt.snapshot = snapshot.hex()

    def committing(self, attempt: Attempt) -> None:
        """From now on the server may commit it."""
        attempt.committing = self.now()
        self._tell(attempt)

    def ended(
        self, attempt: Attempt, outcome: str, tid: bytes | None = None, error: object = ''
    ) -> None:
        """It has returned or raised."""
        attempt.ended, attempt.outcome = self.now(), outcome
        attempt.tid = tid.hex() if tid else None
        attempt.error = str(error)
        self._tell(attempt)

    def _tell(self, attempt: Attempt) -> None:
        if self._write is not None:
            self._write(_line(asdict(attempt)))


def database(
    transactions: Iterable[Any],
    value_of: Callable[[bytes, bytes], Any],
    blobs: Iterable[tuple[bytes, str, Any]] = (),
) -> History:
    """Return a history that has only the database of it.

    :param transactions: of a storage's ``iterator()``.
    :param value_of: returns the key and the value of a record, from its oid and data; None for one
        that is of no interest.
    :param blobs: tid, key and value of each revision of a blob.
    """
    in_files: dict[bytes, dict[str, Any]] = {}
    for tid, key, value in blobs:
        in_files.setdefault(tid, {})[key] = value
    history = History(transactions=[])
    assert history.transactions is not None
    for transaction in transactions:
        description = transaction.description
        values = in_files.get(transaction.tid, {})
        found = Transaction(transaction.tid.hex(), description.decode(), values)
        for record in transaction:
            revisions = history.records.setdefault(record.oid.hex(), [])
            revisions.append([record.tid.hex(), digest(record.data)])
            named = value_of(record.oid, record.data)
            if named is not None:
                found.values[named[0]] = named[1]
        history.transactions.append(found)
    return history


def digest(data: bytes | None) -> str:
    """Return what tells a record's data from other data."""
    return 'none' if data is None else blake2b(data, digest_size=8).hexdigest()
