"""Exceptions that strike threads of an application within calls of their storage."""

from types import SimpleNamespace

import pytest

from support.simulation.clients import Interrupted
from support.simulation.doors import SHARE
from support.simulation.plan import ClientPlan, Plan
from support.simulation.planning import plan_of
from support.simulation.simulate import run
from support.simulation.strikes import ANY, CALLS, ERRORS, Strike, StruckStorage


def thread(call, process='c1'):
    return SimpleNamespace(call=call, has_begun=True, process=SimpleNamespace(name=process))


def test_it_strikes_within_its_call_behind_some_points():
    strike = Strike('c1', 'tpc_vote', 'EIO', 1)
    points = [
        (thread('tpc_vote', 'c2'), 'send'),
        (thread('tpc_finish'), 'send'),
        (thread(''), 'send'),
        (thread('tpc_vote'), 'acquire'),  # which has no such error
        (thread('tpc_vote'), 'send'),
        (thread('tpc_vote'), 'poll'),
    ]
    assert [strike.is_met(*point) for point in points] == [False] * 5 + [True]


def test_memory_may_be_short_where_the_system_has_no_part():
    assert Strike('c1', ANY, 'MemoryError', 0).is_met(thread('loadBefore'), 'spawn')


def test_an_interrupt_strikes_only_in_code_of_the_product():
    """This is a test's."""
    assert not Strike('c1', ANY, 'Interrupted', 0).is_met(thread('loadBefore'), 'send')


@pytest.mark.parametrize('name', ERRORS)
def test_each_error_can_be_made(name):
    assert isinstance(ERRORS[name](), (Exception, Interrupted))


@pytest.mark.parametrize('name', CALLS)
def test_a_storage_knows_each_call(name):
    assert name in vars(StruckStorage)


def test_an_error_in_a_commit_leaves_its_mark_in_the_history():
    client = ClientPlan('c1', [[[['append', ['l0']], ['read', 'l0'], ['beside', 'l0']]]])
    faults = [[0.0, 'strike', 'c1', 'tpc_finish', 'MemoryError', 0]]
    outcome = run(Plan(1, clients=[client], faults=faults))
    assert not outcome.anomalies
    (struck,) = [one for one in outcome.history.attempts if 'MemoryError' in one.error]
    assert struck.outcome == 'unknown'
    assert any('in tpc_finish MemoryError' in line for line in outcome.log)


def test_every_connection_of_a_client_is_looked_at_in_the_end():
    client = ClientPlan('c1', [[[['read', 'l0'], ['beside', 'l0']]]])
    outcome = run(Plan(1, clients=[client]))
    assert not outcome.anomalies
    whole = [one for one in outcome.history.attempts if one.client == 'c1' and len(one.steps) > 5]
    assert len(whole) == 3  # both, and a new one


def test_a_share_of_plans_has_such_errors():
    found = sum(plan_of(seed).has_kind('doors') for seed in range(400))
    assert 0.5 * SHARE < found / 400 < 1.5 * SHARE
