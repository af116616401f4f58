"""Durations that are counted together are counted as they are one by one."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from ZEO.serving.commit.times import AT_ONCE, Durations, Times
from ZEO.serving.histogram import BOUNDS, Histogram
from ZEO.serving.syncing import SHARED

seconds = st.one_of(st.floats(0, 100), st.sampled_from(BOUNDS))


@given(st.lists(seconds, max_size=30), st.sampled_from((BOUNDS, SHARED)))
def test_several_are_counted_as_one_by_one(durations, bounds):
    together, single = Histogram(bounds), Histogram(bounds)
    for duration in durations:
        single.add(duration)
    together.add_all(durations)
    assert together.counts == single.counts
    assert together.sum == approx(single.sum)


def moments(asked=0.0, granted=0.0, voted=0.0, finishing=0.0):
    times = Times(1.0)
    times.asked, times.granted, times.voted, times.finishing = asked, granted, voted, finishing
    return times


def test_each_part_of_a_transaction_is_counted_as_far_as_it_came():
    durations = Durations()
    durations.add(moments(), 10.0)
    durations.add(moments(2.0), 10.0)
    durations.add(moments(2.0, 3.0), 10.0)
    durations.add(moments(2.0, 3.0, 5.0), 10.0)
    durations.add(moments(2.0, 3.0, 5.0, 9.0), 10.0)
    parts = durations.wait, durations.hold, durations.vote, durations.client, durations.finish
    assert [part.count for part in parts] == [4, 3, 2, 1, 1]
    assert [part.sum for part in parts] == [11.0, 21.0, 4.0, 4.0, 1.0]


def test_many_transactions_do_not_pile_up():
    durations = Durations()
    for _ in range(2 * AT_ONCE):
        durations.add(moments(2.0, 3.0), 4.0)
    assert durations._hold.count == 2 * AT_ONCE
