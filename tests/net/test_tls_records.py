"""TLS records are counted where they begin, however they are split."""

import random

import pytest

from ZEO.net.tls_records import Records


def records(choose, count):
    sizes = [choose.choice((0, 1, 22, 255, 256, 5000, 16_406)) for _ in range(count)]
    return [b'\x17\x03\x03' + size.to_bytes(2, 'big') + b'\x17' * size for size in sizes]


@pytest.mark.parametrize('seed', range(20))
def test_each_is_counted_once(seed):
    choose = random.Random(seed)
    made = records(choose, 200)
    stream, starts, place = b''.join(made), set(), 0
    for one in made:
        starts.add(place)
        place += len(one)
    found, at = Records(), 0
    while at < len(stream):
        size = choose.choice((1, 2, 3, 4, 5, 6, 100, 3000, 60_000))
        expected = len(starts & {*range(at, at + size)})
        part = stream[at : at + size]
        for _ in range(choose.randrange(2) if expected > 1 else 0):
            assert found.begin(part) == expected
            found.again()
        assert found.begin(memoryview(part)) == expected
        assert found.begin(b'') == 0
        at += size


def test_one_at_a_time():
    found = Records()
    for one in records(random.Random(7), 50):
        assert found.begin(one) == 1
