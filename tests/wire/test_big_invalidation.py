"""The invalidation of a huge commit is made in parts, and is what the codec makes of it."""

import pytest

from ZEO.wire.big_invalidation import MANY, BigInvalidation
from ZEO.wire.frames import frame
from ZEO.wire.messages import codec

TID = b'\3' * 8


def oids(count):
    return [number.to_bytes(8, 'big') for number in range(count)]


@pytest.mark.parametrize('protocol', [b'Z5', b'M5'])
@pytest.mark.parametrize('count', [MANY + 1, 65_535, 70_999])
def test_it_has_the_bytes_of_the_codec(protocol, count):
    announced = BigInvalidation(oids(count), [b'Z5', b'M5'])
    steps = sum(1 for _ in announced.steps())
    assert steps > count / 2000  # other clients are served between them
    plain = codec(protocol).send('invalidateTransaction', (TID, oids(count)))
    assert b''.join(announced.pieces(protocol, TID)) == frame(plain)


def test_there_is_none_for_what_is_not_an_oid_or_was_not_asked_for():
    announced = BigInvalidation([*oids(MANY), b'short'], [b'Z5'])
    list(announced.steps())
    assert announced.pieces(b'Z5', TID) is None
    announced = BigInvalidation(oids(MANY + 1), [b'Z5'])
    list(announced.steps())
    assert announced.pieces(b'M5', TID) is None
    assert announced.pieces(b'Z5', TID) is not None
