"""Tables of very many objects do what a dictionary does, and are freed bit by bit."""

import random
from collections import deque

import pytest
from ZODB.utils import p64

from ZEO.serving import many
from ZEO.serving.many import Freeing, ManyOids, ManyPlaces


class Turns:
    """A loop's turns, one at a time."""

    def __init__(self):
        self.due = deque()

    def freeing(self):
        return Freeing(self.due.append, self.due.append)

    def take(self):
        self.due.popleft()()


@pytest.mark.parametrize('seed', range(5))
def test_places_are_those_of_a_dictionary(seed):
    rng = random.Random(seed)
    plain = {p64(rng.randrange(2**20)): 1 for _ in range(20)}
    places = ManyPlaces(plain)
    plain = dict(plain)
    for place in range(2, 3000):
        oid = p64(rng.randrange(2000))
        plain[oid] = places[oid] = place
    places.update({p64(7): 3, p64(2**40): 4})
    plain.update({p64(7): 3, p64(2**40): 4})
    assert len(places) == len(plain)
    assert sorted(places) == sorted(plain)
    assert dict(places.items()) == plain
    assert sorted(places.values()) == sorted(plain.values())
    assert all(places.get(oid) == plain[oid] for oid in plain)
    assert places.get(p64(2**50)) is None and places.get(p64(2**50), 5) == 5


def test_an_index_gets_them_in_the_order_in_which_they_came():
    places = ManyPlaces({})
    for number in range(5000):
        places[p64(number)] = number
    assert [oid for oid, _ in places.items()] == [p64(number) for number in range(5000)]


def test_places_are_forgotten_in_steps_whatever_their_number_is():
    places = ManyPlaces({p64(number): number for number in range(50_000)})
    before, steps = len(places), 0
    while places.free():
        assert before - len(places) < 2 * many._FREED
        before = len(places)
        steps += 1
    assert not len(places) and not list(places.items()) and steps >= 9
    places = ManyPlaces({p64(1): 1})
    places.clear()
    assert not list(places)


def test_oids_are_in_the_order_in_which_they_came_each_once():
    numbers = [random.Random(1).randrange(3000) for _ in range(9000)]
    oids, plain = ManyOids(Turns().freeing(), [p64(5000)]), {p64(5000): None}
    for number in numbers:
        oids[p64(number)] = plain[p64(number)] = None
    assert list(oids) == oids.order == list(plain) and len(oids) == len(plain)


def test_oids_that_are_not_used_any_more_are_freed_in_turns():
    turns = Turns()
    oids = ManyOids(turns.freeing(), map(p64, range(20_000)))
    order = oids.order
    del oids
    taken = 0
    while turns.due:
        before = len(order)
        turns.take()
        assert before - len(order) <= many._FREED
        taken += 1
    assert not order and taken >= 4 + many._PARTS / many._PARTS_FREED


def test_what_comes_while_others_are_freed_waits():
    turns = Turns()
    freeing, lists = turns.freeing(), [[0] * 10, [0] * 10]
    for one in lists:
        freeing.take(one, 4)
    turns.take()
    assert [len(one) for one in lists] == [6, 10]
    while turns.due:
        turns.take()
    assert lists == [[], []]
    freeing.take(lists[0], 1)  # of an empty one as well
    while turns.due:
        turns.take()
