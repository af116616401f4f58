"""What clients may not see yet, with transactions of very many objects among it."""

from types import SimpleNamespace

from ZODB.utils import p64, z64

from ZEO.serving.backends.unacknowledged import Unacknowledged, Waiting
from ZEO.serving.later import Later
from ZEO.serving.many import Freeing, ManyOids


def entry(number, changed):
    commit = SimpleNamespace(changed=changed)
    return Unacknowledged(p64(number), list(changed), commit, Later())


def many(numbers):
    def freed(step):
        """Nothing is freed."""

    return ManyOids(Freeing(freed, freed), map(p64, numbers))


def hidden(waiting):
    return [number for number in range(12) if p64(number) in waiting.changed]


def test_objects_are_hidden_until_the_last_transaction_that_has_changed_them_is_seen():
    waiting = Waiting(z64)
    for number, changed in enumerate(
        ({p64(0): None, p64(1): None}, many([1, 2, 3]), {p64(3): None}, many([3, 5])), 1
    ):
        waiting.add(entry(number, changed))
    assert hidden(waiting) == [0, 1, 2, 3, 5]
    seen = []
    while waiting.take(p64(9)) is not None:
        seen.append(hidden(waiting))
    assert seen == [[1, 2, 3, 5], [3, 5], [3, 5], []]
    waiting.add(entry(5, {p64(7): None}))
    assert hidden(waiting) == [7]


def test_a_large_one_that_is_lost_hides_nothing():
    waiting = Waiting(z64)
    for one in entry(1, {p64(0): None}), entry(2, many([0, 4])):
        one.is_synced = False
        waiting.add(one)
    assert len(waiting.drop_unsynced()) == 2
    assert hidden(waiting) == []
