"""What clients are sent when it is not known what has changed: nothing that hides the rest."""

import pytest
from ZODB.utils import p64

from ZEO.serving.backends.telling import Telling
from ZEO.serving.backends.view import View
from ZEO.serving.invalidations import Invalidations
from ZEO.serving.later import Later

A, B = p64(1), p64(2)
T10, T11, T12, T13, T14 = (p64(number) for number in range(10, 15))


class Loop:
    """Keeps what is to be called later."""

    def __init__(self):
        self.timers = []

    def later(self, seconds, function):
        self.timers.append(function)

    def attempt(self, function):
        function()


class Commit:
    """A transaction of A, which is its own phase as well."""

    changed = {A: None}

    def __init__(self, telling):
        self.phase, self.telling = self, telling

    def finished(self, commit, tid):
        self.telling._heard(tid, [A])


@pytest.fixture
def telling():
    """One whose clients have seen all up to T10; `sent` is what they are sent, and where the view
    was when they lost everything.
    """
    loop, view, sent = Loop(), View(T10), []
    telling = Telling('1', loop, view, lambda met: None)

    def heard(tid, oids):
        sent.append(tid)
        view.advance(tid, oids)

    telling.to(heard, lambda: sent.append(('lost', view.last)))
    telling.sent, telling.timers = sent, loop.timers
    return telling


def own(telling, tid):
    """A transaction of this server is permanent; return what its client is answered."""
    commit, answer, found = Commit(telling), Later(), []
    answer.then(found.append, found.append)
    telling.finishing(commit)
    telling.permanent(commit, answer, tid)
    return found


def test_who_was_sent_the_last_transaction_learns_that_others_before_it_are_missing(telling):
    answer = own(telling, T12)  # another server has committed T11
    telling.lost_track(T12, 'the connection was lost')
    assert answer == [T12]
    # no client is sent T12 before it has dropped what it has cached: it would read T11's objects as
    # they were; and who has T12 hears that it is not known what has changed since
    assert telling.sent[0][0] == 'lost' and telling.sent[1:] == [T12, ('lost', T13)]


def test_a_view_that_was_told_everything_stays_at_the_last_transaction(telling):
    telling.lost_track(T12, 'the connection was lost')
    assert telling.sent[-1] == ('lost', T12) and {what for what, _ in telling.sent} == {'lost'}


def test_an_answer_that_could_not_wait_hides_nothing_either(telling):
    answer = own(telling, T12)
    (passes_late,) = telling.timers
    passes_late()
    assert answer == [T12]
    assert telling.sent[0][0] == 'lost' and telling.sent[1:] == [T12, ('lost', T13)]
    # the database answers again
    telling.reported([(T11, [B]), (T12, [A])])
    assert telling.sent[3:] == [T11, T12, ('lost', T14)]
    telling.reported([(p64(20), [B])])
    assert telling.sent[6:] == [p64(20)]


class Storage:
    """What a server starts with."""

    def lastTransaction(self):
        return T10


@pytest.fixture
def noted():
    """What a server has noted for clients that come back."""
    return Invalidations(Storage(), 100, None, lambda: 0.0, recent=[])


@pytest.fixture
def late(noted):
    """One that cannot be told what another server has committed: T12, between T11 and T13 of this
    one, which are permanent. A client that was sent T11 by the other server comes afterwards.
    """
    loop, view = Loop(), View(T10)

    def heard(tid, oids):
        view.advance(tid, oids)
        noted.add(tid, oids)

    telling = Telling('1', loop, view, lambda met: None)
    telling.to(heard, noted.clear)
    telling.timers, telling.view = loop.timers, view
    assert own(telling, T11) == own(telling, T13) == []
    return telling


@pytest.mark.parametrize('last', [T13, T14], ids=['one of them', 'another one'])
def test_who_comes_with_a_late_one_is_not_sent_what_else_is_known_to_follow_it(late, noted, last):
    late.lost_track(last, 'the connection was lost')
    assert noted.since(T11, late.view.last) is None  # else it would keep what T12 has changed
