"""Whose answer is made next."""

import heapq
from itertools import count

import pytest

from support.clock import Clock
from ZEO.serving.monitor.turns import Turns


class Loop:
    """Calls what is due when a test lets time pass."""

    def __init__(self):
        self.system = Clock()
        self._due, self._numbers = [], count()

    def later(self, seconds, function):
        heapq.heappush(self._due, (self.system.time + seconds, next(self._numbers), function))

    def run(self, until):
        while self._due and self._due[0][0] <= until:
            self.system.time, _, function = heapq.heappop(self._due)
            function()


class Asking:
    """A connection with requests without end."""

    def __init__(self, turns, said, name, reads=True):
        self.turns, self.said, self.name, self.reads = turns, said, name, reads
        self.was_answered = False

    def let_go(self):
        if self.reads:
            self.go_on()

    def go_on(self):
        if self.turns.begins(self):
            self.said.append(self.name)
            self.was_answered = True
            self.turns.used(1.0)
            self.go_on()


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def turns(loop):
    return Turns(loop, lambda: 0.1)


def test_each_has_its_turn_and_others_have_the_rest_of_the_time(loop, turns):
    said = []
    for name in 'abc':
        Asking(turns, said, name).go_on()
    loop.run(loop.system.time + 9 * 9.5)
    assert ''.join(said) == 'abacbacbac'


def test_those_that_were_not_answered_yet_have_every_other_turn(loop, turns):
    said = []
    for name in 'abc':
        Asking(turns, said, name).go_on()
    loop.run(loop.system.time + 9 * 3.5)
    for name in 'xyz':
        Asking(turns, said, name).go_on()
    loop.run(loop.system.time + 9 * 6)
    assert ''.join(said[4:]) == 'bxaycz'


def test_one_that_does_not_read_keeps_no_other_waiting(loop, turns):
    said = []
    Asking(turns, said, 'a').go_on()
    Asking(turns, said, 'b', reads=False).go_on()
    Asking(turns, said, 'c').go_on()
    loop.run(loop.system.time + 18)
    assert ''.join(said) == 'aac'


def test_one_that_has_gone_has_no_turn(loop, turns):
    said = []
    Asking(turns, said, 'a').go_on()
    gone = Asking(turns, said, 'b')
    gone.go_on()
    Asking(turns, said, 'c').go_on()
    turns.gone(gone)
    loop.run(loop.system.time + 9)
    assert ''.join(said) == 'ac'
