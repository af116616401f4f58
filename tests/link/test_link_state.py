"""Which state of a link may follow which."""

import pytest
from ZODB.POSException import ReadOnlyError

from ZEO.Exceptions import AuthError
from ZEO.link.link_state import LinkState

CONNECTED = (LinkState.READY, LinkState.SECOND_BEST)
BEFORE = (LinkState.STARTING, LinkState.REFUSED)


@pytest.mark.parametrize('state', LinkState)
def test_nothing_follows_the_end(state):
    assert LinkState.CLOSED.then(state) is LinkState.CLOSED


@pytest.mark.parametrize('state', LinkState)
def test_every_link_may_be_closed(state):
    assert state.then(LinkState.CLOSED) is LinkState.CLOSED


@pytest.mark.parametrize('state', LinkState)
def test_no_link_begins_anew(state):
    assert state.then(LinkState.STARTING) is state


@pytest.mark.parametrize('state', LinkState)
def test_a_refusal_matters_before_the_first_connection_only(state):
    assert (state.then(LinkState.REFUSED) is LinkState.REFUSED) == (state in BEFORE)
    assert state.was_connected or state in BEFORE


@pytest.mark.parametrize('connected', CONNECTED)
def test_a_connection_ends_before_another_one_begins(connected):
    for other in CONNECTED:
        assert connected.then(other) is connected
        assert connected.then(LinkState.OFFLINE).then(other) is other


@pytest.mark.parametrize('state', LinkState)
def test_a_denial_matters_while_there_is_no_connection(state):
    denied = state.without_a_server(AuthError('no'))
    expected = {
        LinkState.STARTING: LinkState.REFUSED,
        LinkState.OFFLINE: LinkState.DENIED,
    }
    assert denied is expected.get(state, state)
    assert denied.fails_calls == (denied in (LinkState.REFUSED, LinkState.DENIED))


@pytest.mark.parametrize('refusal', [None, ReadOnlyError()])
def test_calls_wait_again_where_a_denial_is_over(refusal):
    assert LinkState.DENIED.without_a_server(refusal) is LinkState.OFFLINE
    assert LinkState.SECOND_BEST.without_a_server(refusal) is LinkState.SECOND_BEST
    assert LinkState.OFFLINE.without_a_server(refusal) is LinkState.OFFLINE


def test_a_thread_looks_for_a_server_until_one_that_will_do_is_found():
    assert {state for state in LinkState if not state.is_looking} == {
        LinkState.READY,
        LinkState.CLOSED,
    }
