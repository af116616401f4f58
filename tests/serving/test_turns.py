"""Clients take turns; what one client waits for keeps its order."""

import pytest

from ZEO.serving.turns import Turns


def taken(turns, *args):
    found = []
    while (entry := turns.take(*args)) is not None:
        found.append(entry)
    return found


def filled(*entries):
    turns = Turns()
    for client, thing in entries:
        turns.add(client, thing)
    return turns


def test_a_client_with_many_things_has_one_place():
    turns = filled(('a', 1), ('a', 2), ('a', 3), ('b', 4), ('c', 5))
    assert len(turns) == 5
    assert taken(turns) == [('a', 1), ('b', 4), ('c', 5), ('a', 2), ('a', 3)]
    assert len(turns) == 0 and turns.clients() == []


def test_a_client_that_may_not_keeps_its_place():
    turns = filled(('a', 1), ('a', 2), ('b', 3))
    assert turns.take(lambda client: client != 'a') == ('b', 3)
    assert turns.take(lambda client: client != 'a') is None
    assert taken(turns) == [('a', 1), ('a', 2)]


def test_what_nobody_wants_any_more_is_gone():
    turns = filled(('a', 1), ('a', 2), ('b', 3), ('b', 4))
    turns.remove('a', lambda thing: thing == 1)
    turns.remove('c', lambda thing: True)
    assert turns.forget('b') == [3, 4] and turns.forget('b') == []
    assert len(turns) == 1
    turns.remove('a', lambda thing: True)
    assert taken(turns) == [] and len(turns) == 0


@pytest.mark.parametrize('client', [None, 0, '', ()])
def test_any_client_has_turns(client):
    assert taken(filled((client, 1), ('a', 2))) == [(client, 1), ('a', 2)]
