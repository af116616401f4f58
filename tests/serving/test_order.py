"""Clients are sent transactions in one order, others' and this server's own."""

from ZODB.utils import p64

from ZEO.serving.backends.order import Order

A, B, C, COUNTER = (p64(number) for number in range(4))
T5, T6, T10, T11, T12, T13 = (p64(number) for number in (5, 6, 10, 11, 12, 13))


def without_history():
    """An order of what says that an object has changed, and not when; T5 was sent last."""
    return Order(T5, is_exact=False)


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
    order = without_history()
    order.finishing('own', [A])
    order.found([(T12, [A, C])])  # it shows nothing of T11 any more
    assert taken(order) == []
    order.permanent('own', T11, 'answer')
    # C may have changed before T11 as well: clients must not take the old one for current
    assert taken(order) == [(T6, [C], None), (T11, [A], 'answer'), (T12, [A, C], None)]


def test_an_own_transaction_does_not_hide_what_was_found_together_with_it():
    order = without_history()
    order.finishing('own', [A])
    order.permanent('own', T12, 'answer')
    order.found([(T12, [A, C])])  # of a storage that says what has changed between two looks
    assert taken(order) == [(T6, [C], None), (T12, [A], 'answer')]


def test_an_own_transaction_alone_has_nothing_sent_ahead_of_it():
    order = without_history()
    order.finishing('own', [A, COUNTER])
    order.permanent('own', T12, 'answer')
    order.found([(T12, [A, COUNTER])])
    assert taken(order) == [(T12, [A, COUNTER], 'answer')]


def test_an_own_transaction_that_was_merged_may_follow_another_change_of_the_same_object():
    order = without_history()
    order.finishing('own', [A], is_plain=False)
    order.permanent('own', T12, 'answer')
    order.found([(T12, [A])])
    assert taken(order) == [(T6, [A], None), (T12, [A], 'answer')]


def test_what_an_own_transaction_has_stored_may_have_changed_before_what_is_found_next():
    order = without_history()
    order.finishing('own', [A])
    order.permanent('own', T10, 'answer')
    order.found([(T13, [A])])  # which was not its first change after T10, perhaps
    assert taken(order) == [(T10, [A], 'answer'), (T11, [A], None), (T13, [A], None)]


def test_what_is_found_together_has_changed_since_what_was_sent_last():
    # C has perhaps changed at T10 as well: money that went from A to C, and on to B
    order = without_history()
    order.found([(T10, [A]), (T12, [C, B])])
    assert taken(order) == [(T6, [A, B, C], None), (T10, [A], None), (T12, [B, C], None)]
    order.found([(T13, [A])])  # nothing is between that and T12
    assert taken(order) == [(T13, [A], None)]


def test_what_nothing_can_be_sent_ahead_of_names_the_objects_of_all():
    order = Order(T10, is_exact=False)
    order.found([(T11, [A]), (T13, [B])])
    assert taken(order) == [(T11, [A, B], None), (T13, [B], None)]


def test_a_change_that_is_found_later_is_told_from_one_before_that_waits():
    order = without_history()
    order.finishing('own', [C])
    order.found([(T10, [A]), (T11, [C])])
    assert taken(order) == [] or order
    order.found([(T13, [A])])
    order.failed('own')
    # no record of A is certain to be current at T11
    assert taken(order) == [
        (T6, [A, C], None),
        (T10, [A], None),
        (T11, [A, C], None),
        (T13, [A], None),
    ]


def test_clients_that_have_begun_anew_are_sent_nothing_that_was_before():
    order = without_history()
    order.begins_anew(T12)
    order.found([(T13, [A])])
    assert taken(order) == [(T13, [A], None)]


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
