"""The invalidation of a commit that changed very many objects, encoded before its tid is known.

Enters: oids, and the protocols that clients speak. Leaves: for a protocol and a tid, pieces of
exactly the bytes that its codec makes; None for a protocol that was not asked for, and where
something is not an oid of 8 bytes. Fails: never.

To encode a million oids takes 60 ms, for which every other client would wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ZEO.wire.frames import SIZE

#: Objects past which it is made so: that many are encoded in 1 ms.
MANY = 20_000

#: Oids in one part: those that a pickler appends to a list at a time.
_PART = 1000

_BEGINS = {
    b'Z5': b'\x80\x03(K\0\x88X\x15\0\0\0invalidateTransactionC\x08',
    b'M5': b'\x94\0\xc3\xb5invalidateTransaction\x92\xc4\x08',
}
_ENDS = {b'Z5': b'\x86t.', b'M5': b''}


class BigInvalidation:
    """That of one commit.

    :param oids: what it has changed; more than :data:`MANY`.
    :param protocols: for which it is made.
    """

    def __init__(self, oids: list[bytes], protocols: Iterable[bytes]) -> None:
        self.oids = oids
        self._bodies: dict[bytes, bytes] = dict.fromkeys(protocols, b'')  # behind the tid

    def steps(self) -> Iterator[None]:
        """Make it, in steps of a millisecond; the last takes some, where there are millions."""
        parts: dict[bytes, list[bytes]] = {protocol: [] for protocol in self._bodies}
        for start in range(0, len(self.oids), _PART):
            some = self.oids[start : start + _PART]
            if any(type(oid) is not bytes or len(oid) != 8 for oid in some):
                self._bodies.clear()
                return
            for protocol, encoded in parts.items():
                encoded.append(_encoded(protocol, some))
            yield
        for protocol in tuple(parts):
            encoded = parts.pop(protocol)
            self._bodies[protocol] = b''.join((self._opens(protocol), *encoded, _ENDS[protocol]))
            del encoded
            yield

    def _opens(self, protocol: bytes) -> bytes:
        """Return the beginning of the list of oids."""
        if protocol == b'Z5':
            return b']'
        count = len(self.oids)
        return b'\xdd' + count.to_bytes(4, 'big') if count > 65_535 else _short(count)

    def pieces(self, protocol: bytes, tid: bytes) -> tuple[bytes, bytes] | None:
        """Return the frame of the message in two pieces, of which the second is the same object
        each time; None where there is none, once :meth:`steps` is through.
        """
        body = self._bodies.get(protocol)
        if not body or len(tid) != 8:
            return None
        begin = _BEGINS[protocol] + tid
        return SIZE.pack(len(begin) + len(body)) + begin, body


def _short(count: int) -> bytes:
    return b'\xdc' + count.to_bytes(2, 'big')


def _encoded(protocol: bytes, oids: list[bytes]) -> bytes:
    if protocol == b'Z5':
        return b'(C\x08' + b'C\x08'.join(oids) + b'e'
    return b'\xc4\x08' + b'\xc4\x08'.join(oids)
