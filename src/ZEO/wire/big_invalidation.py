"""The invalidation of a commit that changed very many objects, encoded before its tid is known.

Enters: oids, and the protocols that clients speak. Leaves: for a protocol and a tid, exactly the
bytes that its codec makes; None for a protocol that was not asked for, and where something is not
an oid of 8 bytes. Fails: never.

To encode a million oids takes 60 ms, for which every other client would wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from ZEO.wire.frames import SIZE

#: Objects past which it is made so: that many are encoded in 1 ms.
MANY = 20_000

#: Oids in one part: those that a pickler appends to a list at a time.
_PART = 1000

_PICKLED = b'\x80\x03(K\0\x88X\x15\0\0\0invalidateTransactionC\x08', b']', b'\x86t.'
_PACKED = b'\x94\0\xc3\xb5invalidateTransaction\x92\xc4\x08', b'', b''


class BigInvalidation:
    """That of one commit.

    :param oids: what it has changed; more than :data:`MANY`.
    :param protocols: for which it is made.
    """

    def __init__(self, oids: Collection[bytes], protocols: Iterable[bytes]) -> None:
        self.oids = list(oids)
        self._parts: dict[bytes, list[bytes]] = {protocol: [] for protocol in protocols}

    def steps(self) -> Iterator[None]:
        """Make it, in steps of a fraction of a millisecond."""
        for start in range(0, len(self.oids), _PART):
            part = self.oids[start : start + _PART]
            if any(type(oid) is not bytes or len(oid) != 8 for oid in part):
                self._parts.clear()
                return
            for protocol, parts in self._parts.items():
                parts.append(_encoded(protocol, part))
            yield

    def frame(self, protocol: bytes, tid: bytes) -> bytes | None:
        """Return the frame of the message; None where there is none, once :meth:`steps` is
        through.
        """
        parts = self._parts.get(protocol)
        if parts is None or len(tid) != 8:
            return None
        begin, opens, end = _PICKLED if protocol == b'Z5' else _PACKED
        if protocol == b'M5':
            count = len(self.oids)
            opens = b'\xdd' + count.to_bytes(4, 'big') if count > 65_535 else _short(count)
        size = len(begin) + 8 + len(opens) + sum(map(len, parts)) + len(end)
        return b''.join((SIZE.pack(size), begin, tid, opens, *parts, end))


def _short(count: int) -> bytes:
    return b'\xdc' + count.to_bytes(2, 'big')


def _encoded(protocol: bytes, oids: list[bytes]) -> bytes:
    if protocol == b'Z5':
        return b'(C\x08' + b'C\x08'.join(oids) + b'e'
    return b'\xc4\x08' + b'\xc4\x08'.join(oids)
