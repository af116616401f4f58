"""Recorded sessions with something wrong in them.

Enters: frames of a session, a source of randomness.  Leaves: what to send instead.  Fails: never.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .wire import framed

Frames = list[bytes]

#: Bytes that mean something in a pickle or in msgpack.
TELLING = bytes.fromhex(
    '00 01 28 29 2e 30 32 4e 52 58 5d 63 71 72 74 7d 7f 80 81 85 86 87 89 8a 8f 93 94 c0 c1 c4 c6 '
    'ca d9 dc dd'
    'de df ff'
)

#: Frames that are left as they are: the hello and register, without which everything else is
#: refused.
PROLOGUE = 2


def _flipped(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwritten(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] = rng.choice(TELLING)


def _inserted(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = bytes(rng.choice(TELLING) for _ in range(rng.choice((1, 1, 4, 50, 3000))))


def _cut(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 10, len(data)))]


def _repeated(rng: random.Random, data: bytearray) -> None:
    at, length = rng.randrange(len(data)), rng.choice((1, 3, 9, 40))
    data[at:at] = data[at : at + length] * rng.choice((1, 2, 200))


CHANGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flipped,
    _overwritten,
    _inserted,
    _cut,
    _repeated,
)


def mutated(rng: random.Random, sessions: list[Frames]) -> bytes:
    """Return the stream of a session of which a few frames are wrong."""
    frames = list(rng.choice(sessions))
    start = rng.randrange(PROLOGUE, len(frames))
    frames = frames[:PROLOGUE] + frames[start : start + rng.choice((5, 30, 300))]
    for _ in range(rng.choice((0, 0, 1, 2, 6))):
        _rearrange(rng, frames, sessions)
    stream = [framed(frame) for frame in frames]
    first = 0 if rng.random() < 0.05 else PROLOGUE
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(min(first, len(frames) - 1), len(frames))
        data = bytearray(frames[at] or b'\0')
        rng.choice(CHANGES)(rng, data)
        stream[at] = framed(bytes(data)) if rng.random() < 0.95 else _mislabelled(rng, bytes(data))
    return b''.join(stream)


def _rearrange(rng: random.Random, frames: Frames, sessions: list[Frames]) -> None:
    """Drop, repeat, move or bring in a frame behind the prologue."""
    if len(frames) <= PROLOGUE:
        return
    at = rng.randrange(PROLOGUE, len(frames))
    match rng.randrange(4):
        case 0:
            del frames[at]
        case 1:
            frames[at:at] = [frames[at]] * rng.choice((1, 2, 50))
        case 2:
            frames.insert(rng.randrange(PROLOGUE, len(frames) + 1), frames.pop(at))
        case 3:
            frames.insert(at, rng.choice(rng.choice(sessions)))


def _mislabelled(rng: random.Random, data: bytes) -> bytes:
    """Return a frame whose length is not that of its contents."""
    length = rng.choice(
        (0, 1, max(len(data) - 1, 0), len(data) + 1, 2**16 + 1, 2**31 - 1, 2**31, 2**32 - 1)
    )
    return length.to_bytes(4, 'big') + data


def stranger(rng: random.Random) -> bytes:
    """Return what somebody sends who does not speak the protocol, or stops early."""
    return rng.choice(
        (
            b'',
            b'\0',
            b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
            framed(b'ruok'),
            framed(b'Z9'),
            framed(b''),
            b'\xff' * 4,
            framed(b'Z5') + b'\0\0\xff\xff' + rng.randbytes(500),
            rng.randbytes(rng.choice((4, 100, 5000))),
            framed(b'Z5')
            + framed(b'\x80\x03(K\x01\x89X\x08\0\0\0registerX\x06\0\0\0nosuch\x89\x86t.'),
            framed(b'M5') + framed(b'\x94\x01\xc2\xa8register\x92\xa1x\xc2'),
            framed(b'Z5') + framed(b'\x80\x03cposix\nsystem\nX\x01\0\0\0x\x85R.'),
            framed(b'Z5')
            + framed(
                b'\x80\x03(K\x01\x89X\x08\0\0\0registerX'
                + b'\x01\0\0\x0a' * 3
                + b'\x1b[2J\n\n' * 1000
            ),
        )
    )
