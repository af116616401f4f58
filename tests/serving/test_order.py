"""Clients are sent transactions in one order, others' and this server's own."""

from ZODB.utils import p64

from ZEO.serving.backends.changes import _without_history
from ZEO.serving.backends.order import Order

A, B, C, COUNTER = (p64(number) for number in range(4))
T10, T11, T12, T13 = (p64(number) for number in (10, 11, 12, 13))


def taken(order):
    """All that clients may be sent now."""
    found = []
    while (following := order.take()) is not None:
        found.append((following.tid, sorted(following.oids), following.own))
    return found


def test_what_others_have_changed_comes_as_it_is_found():
    order = Order()
    order.found([(T10, [A]), (T11, [B])])
    assert taken(order) == [(T10, [A], None), (T11, [B], None)]
    assert not order


def test_an_own_transaction_is_found_before_its_thread_says_that_it_is_permanent():
    order = Order()
    order.finishing('own', [A, COUNTER])
    order.found([(T10, [B]), (T11, [A, COUNTER]), (T12, [C])])
    assert taken(order) == [(T10, [B], None)] or not taken(order)
    order.permanent('own', T11, 'answer')
    assert (T11, [A, COUNTER], 'answer') in taken(order)


def test_an_own_transaction_that_was_overwritten_comes_before_what_has_overwritten_it():
    order = Order()
    order.finishing('own', [A])
    order.found([(T12, [A, C])])  # it shows nothing of T11 any more
    assert taken(order) == []
    order.permanent('own', T11, 'answer')
    # C may have changed before T11 as well: clients must not take the old one for current
    assert taken(order) == [(T10, [A, C], None), (T11, [A], 'answer'), (T12, [A, C], None)]


def test_an_own_transaction_does_not_hide_what_was_found_together_with_it():
    order = Order()
    order.finishing('own', [A])
    order.permanent('own', T12, 'answer')
    order.found([(T12, [A, C])])  # of a storage that says what has changed between two looks
    assert taken(order) == [(T11, [A, C], None), (T12, [A], 'answer')]


def test_a_transaction_that_fails_holds_up_nothing_any_more():
    order = Order()
    order.finishing('own', [A])
    order.found([(T12, [A])])
    assert taken(order) == []
    order.failed('own')
    assert taken(order) == [(T12, [A], None)]


def test_an_own_transaction_that_has_changed_nothing_comes_when_all_before_it_was_found():
    order = Order()
    order.finishing('own', [])
    order.permanent('own', T11, 'answer')
    assert taken(order) == [] and order.is_waiting(T11)
    order.found([(T10, [A])])
    order.passed(T11)
    assert taken(order) == [(T10, [A], None), (T11, [], 'answer')]
    assert not order.is_waiting(T11)


def test_an_own_transaction_comes_before_a_later_one_that_was_found_first():
    order = Order()
    order.finishing('own', [A, COUNTER])
    order.permanent('own', T11, 'answer')
    order.found([(T13, [A, COUNTER])])
    assert taken(order) == [(T11, [A, COUNTER], 'answer'), (T13, [A, COUNTER], None)]


def test_without_history_the_first_that_is_found_names_the_objects_of_all():
    # C has perhaps changed at T10 as well: money that went from A to C, and on to B
    assert _without_history([(T10, [A]), (T12, [C, B])]) == [(T10, [A, C, B]), (T12, [C, B])]
    assert _without_history([(T10, [A])]) == [(T10, [A])]
    assert _without_history([]) == []
