"""Commits that are lost with a primary: which may be, and what may have been done with them."""

from dataclasses import replace

import pytest

from support.simulation.history import COMMITTED, READ, Attempt, History, Transaction
from support.simulation.losses import check_with_losses
from support.simulation.planning import plan_of
from support.simulation.simulate import run


def tid(number):
    return f'{number:016x}'


def committed(name, number, **values):
    """Return an attempt that was acknowledged, and its transaction."""
    steps = [['w', key, value] for key, value in values.items()]
    attempt = Attempt(
        name, 'c', began=number, steps=steps, ended=number, outcome=COMMITTED, tid=tid(number)
    )
    return attempt, Transaction(tid(number), name, values)


@pytest.fixture
def history():
    """The second of three commits is lost, by the promotion of who has the first alone."""
    attempts, transactions = zip(
        *(committed(name, number, r0=name) for number, name in enumerate('abc', 1)), strict=True
    )
    reading = Attempt('d', 'other', began=2.5, started=2.5, snapshot=tid(2))
    reading.steps, reading.ended, reading.outcome = [['r', 'r0', 'b']], 2.6, READ
    return History(
        [*attempts, reading],
        transactions=[transactions[0], transactions[2]],
        saved={'server': [[transactions[1]]]},
        promotions=[['server', tid(1)]],
    )


def kinds(history):
    return {one.kind for one in check_with_losses(history)}


def test_what_no_follower_had_may_be_lost_and_may_have_been_seen_before(history):
    assert kinds(history) == set()


def test_what_is_in_no_file_of_what_was_lost_may_not(history):
    assert 'lost' in kinds(replace(history, saved={}))


def test_what_the_promoted_one_had_may_not(history):
    history.promotions[:] = [['server', tid(2)]]
    assert 'lost though a follower had it' in kinds(history)


def test_a_server_that_was_no_primary_may_lose_nothing(history):
    history.saved['f1'] = history.saved.pop('server')
    assert 'lost though a follower had it' in kinds(history)


def test_what_is_lost_was_seen_as_it_was(history):
    history.attempts[-1].steps = [['r', 'r0', 'a']]
    assert 'wrong snapshot' in kinds(history)


def test_no_commit_that_is_there_has_read_it(history):
    later = history.attempts[2]
    later.began = later.started = 2.5
    later.snapshot = tid(2)
    assert kinds(history) == set()
    later.steps.insert(0, ['r', 'r0', 'b'])
    assert 'wrong snapshot' in kinds(history)


def test_it_is_not_seen_afterwards(history):
    history.attempts[-1].snapshot = tid(3)
    assert 'wrong snapshot' in kinds(history)


def test_a_history_with_losses_is_right():
    plan = plan_of(170)
    assert plan.has_kind('losses')
    outcome = run(plan)
    assert outcome.counts['lost'] and not outcome.anomalies
