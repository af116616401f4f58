"""A follower through kills, stops, cuts and packs, while six clients write at the primary."""

import random

import pytest

from support.replica_rounds import Rounds


@pytest.mark.parametrize(
    ('rounds', 'seconds'), [(6, 4), pytest.param(200, 1e9, marks=pytest.mark.slow)]
)
def test_the_file_is_a_prefix_at_any_time_and_equal_in_the_end(tmp_path, rounds, seconds):
    seed = random.randrange(10**6)
    print('seed', seed)
    one = Rounds(str(tmp_path), seed)
    try:
        assert one.run(rounds, seconds)
    finally:
        one.close()
