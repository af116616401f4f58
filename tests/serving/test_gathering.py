"""How many transactions a sync waits for."""

import pytest

from ZEO.serving.backends.gathering import LONGEST, Gathering

SYNC = 0.010  # seconds


def commits(clients, first, following, rounds=100, gathering=None):
    """Have clients commit one transaction after the other.

    :param first: seconds from a sync until the first client that it has answered has written again.
    :param following: seconds from there to the next one.
    :returns: how many transactions each sync was for, and the seconds without a sync.
    """
    gathering = gathering or Gathering()
    now, idle, written, groups = 0.0, 0.0, clients, []
    back = []  # when those that were answered will have written
    for _ in range(rounds):
        answered, written, end = written, 0, now + SYNC
        groups.append(answered)
        while back and back[0] <= end:
            gathering.written(back.pop(0))
            written += 1
        now = end
        gathering.synced(answered, written, SYNC, now)
        begin = max([now + first, *(time + following for time in back)])
        back += [begin + number * following for number in range(answered)]
        limit = None
        while not written or written < gathering.expected:
            if written and limit is None:
                limit = now + gathering.patience(written, SYNC)
            if limit is not None and back[0] > limit:
                gathering.gave_up(written)
                now = limit
                break
            now = back.pop(0)
            gathering.written(now)
            written += 1
        else:
            gathering.came()
        idle += now - end
    return groups, idle


@pytest.mark.parametrize('clients', [1, 2, 4, 8])
def test_clients_that_are_back_soon_share_each_sync(clients):
    groups, idle = commits(clients, 0.002, 0.0005)
    assert groups[-50:] == [clients] * 50
    assert idle < 100 * (0.002 + clients * 0.0005)


def test_others_are_synced_while_clients_come_back_that_take_longer_than_a_sync():
    groups, idle = commits(16, 0.003, 0.0005)  # 3 + 15 / 2 ms
    assert sum(groups[-50:]) == pytest.approx(50 * 8, rel=0.05)
    assert idle < 100 * SYNC * 0.05


def test_no_sync_waits_for_clients_that_are_busy_with_other_things():
    groups, idle = commits(16, 0.002, 0.1, rounds=400)  # a commit each tenth of a second
    assert groups[-100:] == [1] * 100


@pytest.mark.parametrize('clients', [2, 8])
def test_clients_that_have_paused_share_each_sync_again(clients):
    gathering = Gathering()
    commits(clients, 0.002, 0.0005, gathering=gathering)
    commits(clients, 5.0, 60.0, rounds=20, gathering=gathering)
    groups, _ = commits(clients, 0.002, 0.0005, gathering=gathering)
    assert groups[-50:] == [clients] * 50


def test_a_client_that_does_not_come_back_is_waited_for_once():
    gathering = Gathering()
    commits(8, 0.002, 0.0005, gathering=gathering)
    assert gathering.expected == 8
    now = 1000.0
    gathering.synced(8, 0, SYNC, now)
    for number in range(7):
        gathering.written(now + 0.002 + number * 0.0005)
    assert gathering.expected == 8
    assert 0 < gathering.patience(7, SYNC) < SYNC
    gathering.gave_up(7)
    gathering.synced(7, 0, SYNC, now + 1)
    assert gathering.expected == 7


def test_the_first_wait_is_a_part_of_a_sync():
    gathering = Gathering()
    gathering.came()
    gathering.synced(1, 1, SYNC, 0.0)
    assert gathering.expected == 2
    assert 0 < gathering.patience(1, SYNC) < SYNC / 2


def test_no_wait_is_longer_than_a_tenth_of_a_second():
    gathering = Gathering()
    assert gathering.patience(1, 60.0) == LONGEST
    commits(8, 0.002, 0.0005, gathering=gathering)
    assert gathering.patience(1, 60.0) <= LONGEST
