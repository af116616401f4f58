"""The objects that clients under stress share, and the database that a round begins with.

Enters: a new storage. Leaves: the database, and which key each oid has; the values
of records. Fails: as the storage does. ZEO 6's clients import it too.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import transaction
import ZODB
from BTrees.Length import Length
from persistent import Persistent
from ZODB.blob import Blob

from support.simulation.history import COMMITTED, Attempt

ACCOUNTS = [f'a{number}' for number in range(6)]
LISTS = [f'l{number}' for number in range(12)]
COUNTERS = ['n0', 'n1']  # the server resolves their conflicts
BLOBS = ['b0', 'b1']
#: Holds one new object after the other.
HOLDERS = ['h0', 'h1', 'h2']

#: The id of the attempt that has made the database.
SETUP = 'setup.1'

AMOUNT = 1000
TOTAL = AMOUNT * len(ACCOUNTS)

#: How often the content of a blob repeats its value: more than a chunk of 59 KB.
TIMES = 8000


class Cell(Persistent):
    """An object with a value, and perhaps with others."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _initial(key: str) -> Any:
    if key in COUNTERS:
        return Length()
    cell = Cell(AMOUNT if key in ACCOUNTS else [] if key in LISTS else 'setup')
    if key in BLOBS:
        cell.blob = Blob(content('setup'))
    return cell


def content(value: str) -> bytes:
    """Return what is in a blob whose cell has this value."""
    return value.encode() * TIMES


def prepare(storage: Any, marks: Sequence[str] = ()) -> tuple[dict[str, str], str]:
    """Make a database, and close its storage; return the keys of its objects, by their oids, and
    the tid, in hexadecimal.

    :param marks: keys of more objects, each of which holds the id of one client's last attempt.
    """
    db = ZODB.DB(storage)
    connection = db.open()
    root = connection.root()
    for key in [*ACCOUNTS, *LISTS, *COUNTERS, *BLOBS, *HOLDERS, *marks]:
        root[key] = _initial(key)
    transaction.get().note(SETUP)
    transaction.commit()
    keys = {root[key]._p_oid.hex(): key for key in root if key not in HOLDERS}
    tid = root[ACCOUNTS[0]]._p_serial.hex()
    connection.close()
    db.close()
    return keys, tid


def setup(tid: str, marks: Sequence[str] = ()) -> Attempt:
    """Return the attempt that has made the database."""
    attempt = Attempt(SETUP, 'setup', 'setup', ended=0.1, outcome=COMMITTED, committing=0.0)
    attempt.tid = tid
    attempt.steps = [['w', key, _initial(key).value] for key in [*ACCOUNTS, *LISTS, *BLOBS, *marks]]
    attempt.steps += [['add', key, 0] for key in COUNTERS]
    return attempt


class _Reader(pickle.Unpickler):
    def persistent_load(self, reference: Any) -> None:
        """References are of no interest."""


def value_of(data: bytes) -> Any:
    """Return the value in a record of one of the objects that have a key."""
    reader = _Reader(io.BytesIO(data))
    reader.load()
    state = reader.load()
    return state['value'] if isinstance(state, dict) else state
