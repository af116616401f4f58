"""Looking before sleeping, and giving it up where that does not help."""

import pytest

from ZEO.net.busy_poll import CONTENDED, LOOKS, MOST_RESTED, BusyPoll
from ZEO.net.system import System


class Machine(System):
    """A machine on which time passes while others have the processor."""

    def __init__(self):
        self.time = 100.0
        self.others_take = CONTENDED / 4
        self.size = 2

    def processors(self):
        return self.size

    def now(self):
        return self.time

    def give_way(self):
        self.time += self.others_take


class Looking:
    """What a waiting thread sees: events from a certain look on; None: never."""

    def __init__(self, there_at):
        self.there_at = there_at
        self.looks = 0

    def look(self):
        self.looks += 1
        return ['event'] if self.there_at is not None and self.looks >= self.there_at else []


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def busy_poll(machine):
    return BusyPoll(machine)


def looks(busy_poll, there_at=None):
    """How often it looks in one wait, and what it finds."""
    looking = Looking(there_at)
    events = busy_poll.poll(looking.look)
    return looking.looks, events


@pytest.mark.parametrize('there_at', [1, 2, LOOKS])
def test_what_comes_soon_is_found(busy_poll, there_at):
    for _ in range(5):
        assert looks(busy_poll, there_at) == (there_at, ['event'])


def test_it_gives_up(busy_poll):
    assert looks(busy_poll) == (LOOKS, [])


def test_the_more_often_in_vain_the_more_rarely(busy_poll):
    looked = [bool(looks(busy_poll)[0]) for _ in range(1000)]
    between = [len(run) for run in ''.join('x' if look else '.' for look in looked).split('x')][
        1:-1
    ]
    assert between[:6] == [1, 3, 7, 15, 31, 63]
    assert set(between[6:]) == {MOST_RESTED}


def test_each_find_makes_it_more_eager(busy_poll):
    for _ in range(1000):
        looks(busy_poll)
    finds = 0
    while finds < 6:
        finds += looks(busy_poll, 1)[0]
    assert looks(busy_poll)[0] == LOOKS
    assert [looks(busy_poll, 1)[0] for _ in range(3)] == [0, 1, 1]  # as the first time


def test_others_who_want_the_processor_get_it(busy_poll, machine):
    machine.others_take = 2 * CONTENDED
    assert looks(busy_poll) == (2, [])  # once more, in case it was the one who answers
    # for longer than when nothing came
    assert [looks(busy_poll, 1)[0] for _ in range(4)] == [0, 0, 0, 1]


def test_an_answer_from_one_who_has_had_the_processor_is_found(busy_poll, machine):
    machine.others_take = 2 * CONTENDED
    for _ in range(5):
        assert looks(busy_poll, 2) == (2, ['event'])


def test_on_a_single_processor_it_sleeps_at_once(machine):
    machine.size = 1
    assert looks(BusyPoll(machine), 1) == (0, [])
