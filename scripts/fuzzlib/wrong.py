"""Well-formed messages that make no sense: wrong names, ids, counts, types, sizes and states of
every call.

Enters: a source of randomness, what is known of the database. Leaves: messages to encode. Fails:
never.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from ZEO.wire.calls import OF_CLIENT
from ZEO.wire.extensions import OF_CLIENTS

from . import proofs

#: (message id, flags, name, args)
Wrong = tuple[Any, Any, Any, Any]

#: What the arguments of each call are; one that is not here gets anything.
ARGUMENTS = {
    'scram_first': 'proof',
    'scram_final': 'proof',
    'register': 'name bool',
    'set_client_label': 'text',
    'iterator_gc': 'numbers',
    'getInvalidations': 'tid',
    'loadBefore': 'oid tid',
    'loadSerial': 'oid tid',
    'used_ahead': 'oids',
    'getTid': 'oid',
    'history': 'oid number',
    'undoLog': 'number number',
    'undoInfo': 'number number dict',
    'record_iternext': 'oid',
    'iterator_start': 'tid tid',
    'iterator_next': 'number',
    'iterator_record_start': 'number tid',
    'iterator_record_next': 'number',
    'sendBlob': 'oid tid',
    'follow': 'text',
    'replicated': 'tid',
    'promote': '',
    'kick': 'text',
    'pack': 'time bool',
    'load_many': 'oids tid',
    'iterator_batch': 'number',
    'new_oids': 'number',
    'vote': 'txn',
    'tpc_finish': 'txn',
    'tpc_abort': 'txn',
    'commit_after': 'txn txn',
    'tpc_begin': 'txn data data extension tid text',
    'storea': 'oid tid data txn',
    'restorea': 'oid tid data tid txn',
    'checkCurrentSerialInTransaction': 'oid tid txn',
    'deleteObject': 'oid tid txn',
    'undoa': 'data txn',
    'storeBlobStart': '',
    'storeBlobChunk': 'data',
    'storeBlobEnd': 'oid tid data txn',
    'storeBlobShared': 'oid tid data path txn',
    'restoreBlobEnd': 'oid tid data tid txn',
    'restoreBlobShared': 'oid tid data tid path txn',
}

#: What is called most: transactions, so that others than the first state are reached.
FREQUENT = (
    'tpc_begin storea storea vote tpc_finish tpc_abort storeBlobStart storeBlobChunk storeBlobEnd '
    'iterator_start '
    'iterator_next loadBefore loadBefore used_ahead set_client_label'
).split()

#: What a transaction may hold, and what shows it afterwards.
CHANGING = """storea storea storea storea restorea checkCurrentSerialInTransaction deleteObject
    undoa""".split()
LOOKING = """loadBefore undoLog undoInfo history iterator_start iterator_next iterator_batch
    record_iternext getTid pack""".split()

NAMES = (
    '',
    'nosuch',
    '__class__',
    'close',
    '_commits',
    '.reply',
    'invalidateTransaction',
    'loadBefore\0',
    'x' * 10_000,
    5,
    None,
)


#: What msgpack has not: large numbers, sets, keys whose hash is the same.
PICKLED: tuple[Callable[[], Any], ...] = (
    lambda: 10**5000,
    lambda: -(10**300),
    lambda: {1, 2},
    lambda: frozenset({10**5000}),
    lambda: frozenset(range(50)),
    lambda: {n * (2**61 - 1): n for n in range(300)},
    lambda: {(1, 2): {3}},
)


class Known(NamedTuple):
    """What a client that looks around knows."""

    oids: list[bytes]
    tids: list[bytes]
    payloads: list[bytes]  # pickles that make the canary if anything loads them freely


def payloads(canary: str) -> list[bytes]:
    """Return pickles that would make the file `canary`, each by another way into an unpickler."""
    command = f'touch {canary}'.encode()
    text = b'X' + len(command).to_bytes(4, 'little') + command
    call = b'cposix\nsystem\n' + text + b'\x85R'
    return [
        b'\x80\x03' + call + b'.',
        b'\x80\x03N.\x80\x03' + call + b'.',
        b'\x80\x03N0' + call + b'.',
        call + b'.',
        b'\x80\x03cZODB.broken\nfind_global\nX\x02\0\0\0osX\x06\0\0\0system\x86R'
        + text
        + b'\x85R.',
        b'\x80\x03cBTrees.Length\nLength\n.\x80\x03' + call + b'.',
        b'\x80\x03}X\x01\0\0\0a' + call + b's.',
        b'\x80\x03cpersistent.mapping\nPersistentMapping\n' + call + b'\x86.N.',
    ]


class Messages:
    """Makes wrong messages of one encoding."""

    def __init__(self, rng: random.Random, known: Known, encoding: str) -> None:
        self._rng, self._known, self._pickles = rng, known, encoding == 'Z5'
        self._right: dict[str, Callable[[], Any]] = {
            'oid': lambda: rng.choice(known.oids),
            'tid': lambda: rng.choice(known.tids),
            'bool': lambda: rng.random() < 0.5,
            'number': lambda: rng.choice((0, 1, 2, 3, -1, -20, 100, 10**6)),
            'text': lambda: rng.choice((' ', 'p', 'label', f'label\n{" ".join(OF_CLIENTS)}')),
            'name': lambda: '1',
            'proof': lambda: rng.choice((proofs.first, proofs.final))(rng),
            'time': lambda: rng.choice((0, 1e9, 2e9, 1e12)),
            'dict': dict,
            'extension': self._extension,
            'numbers': lambda: [1, 2, 3],
            'txn': lambda: rng.choice((1, 1, 1, 2, 'x', b'y')),
            'data': self._data,
            'oids': lambda: rng.choices(known.oids, k=rng.choice((0, 1, 5, 500))),
            'path': lambda: rng.choice(
                ('../../x', '/etc/passwd', '', '.', 'a\0b', 'x' * 5000, 'good')
            ),
        }

    def take(self) -> list[Wrong]:
        """Return what is sent together: one message, or a whole transaction and somebody who looks
        at it.
        """
        rng = self._rng
        if rng.random() < 0.8:
            return [self._one(rng.choice(FREQUENT if rng.random() < 0.3 else list(OF_CLIENT)))]
        return self._transaction(rng.choice((1, 2, 'x')))

    def _transaction(self, txn: Any) -> list[Wrong]:
        """Return a transaction in the right order, most of it as it should be, and calls that look
        into what it stored.
        """
        rng = self._rng
        names = [
            'tpc_begin',
            *rng.choices(CHANGING, k=rng.choice((1, 1, 2, 20))),
            'vote',
            'tpc_finish',
            *rng.sample(LOOKING, k=3),
        ]
        messages = []
        for name in names:
            args = [
                txn
                if kind == 'txn'
                else None
                if name == 'tpc_begin' and kind == 'tid' and rng.random() < 0.8
                else self._right[kind]()
                for kind in self._kinds(name)
            ]
            answered = OF_CLIENT[name].answered
            messages.append(
                (rng.randrange(1, 1000) if answered else 0, not answered, name, tuple(args))
            )
        if rng.random() < 0.3:
            at = rng.randrange(len(messages))
            messages[at] = self._one(messages[at][2])
        return messages

    def _one(self, name: str) -> Wrong:
        """Return a message of which usually one thing is wrong."""
        rng = self._rng
        args = [self._argument(kind) for kind in self._kinds(name)]
        if rng.random() < 0.08:
            del args[rng.randrange(len(args) + 1) :]
        elif rng.random() < 0.05:
            args += [self._anything() for _ in range(rng.choice((1, 2, 300)))]
        answered = OF_CLIENT[name].answered != (rng.random() < 0.05)
        message_id: Any = rng.randrange(1, 1000) if answered else 0
        flags: Any = not answered
        odds = rng.random()
        if odds < 0.03:
            message_id = self._anything()
        elif odds < 0.05:
            flags = self._anything()
        elif odds < 0.07:
            return message_id, flags, rng.choice(NAMES), tuple(args)
        elif odds < 0.08:
            return message_id, flags, name, self._anything()
        return message_id, flags, name, tuple(args)

    def _kinds(self, name: str) -> list[str]:
        if name in ARGUMENTS:
            return ARGUMENTS[name].split()
        return ['anything'] * self._rng.randrange(4)

    def _argument(self, kind: str) -> Any:
        if kind == 'anything' or self._rng.random() < 0.12:
            return self._anything()
        return self._right[kind]()

    def _data(self) -> bytes:
        rng = self._rng
        if rng.random() < 0.3:
            return rng.choice(self._known.payloads)
        return rng.choice(
            (
                b'',
                b'.',
                b'\x80\x03N.\x80\x03N.',
                rng.randbytes(20),
                b'x' * rng.choice((100, 70_000)),
                b'\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}.',
                b'\x08' * rng.choice((1000, 16_000)),
                b'.z' + zlib.compress(bytes(100_000)),
                b''.join(b'C\x08%bcone\nName\n\x86Q' % oid for oid in self._known.oids),
            )
        )

    def _extension(self) -> Any:
        rng = self._rng
        return rng.choice(
            (
                b'',
                {},
                {'key': 'value'},
                rng.choice(self._known.payloads),
                {1: [2, {3: (4,)}]},
                5,
                [],
                b'\x80',
            )
        )

    def _anything(self) -> Any:
        """Return a value of any type, of odd sizes."""
        rng = self._rng
        plain: tuple[Callable[[], Any], ...] = (
            lambda: None,
            lambda: True,
            lambda: rng.choice((-1, 0, 1, 2**31, 2**32, 2**63 - 1, -(2**63))),
            lambda: rng.choice((0.5, float('nan'), float('inf'), -1e300)),
            lambda: rng.choice(('', 'x', '\n\r\x1b[2J', '\0é\u2028', 'x' * 70_000)),
            lambda: rng.randbytes(rng.choice((0, 1, 7, 8, 8, 9, 16, 100, 70_000))),
            lambda: b'\xff' * 8,
            lambda: b'\0' * 8,
            lambda: rng.choice(self._known.payloads),
            lambda: _nested(rng.choice((2, 20, 200))),
            lambda: [rng.choice(self._known.oids)] * rng.choice((1, 100, 5000)),
            lambda: {n: n for n in range(rng.choice((1, 50, 5000)))},
            lambda: {'k': {'k': {'k': []}}},
        )
        if self._pickles and rng.random() < 0.2:
            return rng.choice(PICKLED)()
        return rng.choice(plain)()


def _nested(depth: int) -> Any:
    value: Any = ()
    for _ in range(depth):
        value = (value,)
    return value
