"""Messages of a server that come before they may be applied: all of them later, up to a bound."""

import pytest
from ZODB.utils import p64

from ZEO.cache.memory_cache import MemoryCache
from ZEO.Exceptions import ProtocolError
from ZEO.link import held
from ZEO.link.connector import EarlyMessages
from ZEO.link.held import HeldMessages
from ZEO.link.state import ClientState


@pytest.fixture
def little(monkeypatch):
    """Have little room."""
    monkeypatch.setattr(held, 'MOST', 1000)


class Events:
    """Notes what it is told."""

    def __init__(self):
        self.messages = []

    def on_message(self, name, args):
        self.messages.append((name, args))


def test_messages_before_the_registration_are_passed_on_later_in_their_order():
    events = Events()
    early = EarlyMessages(events)
    early.on_message('first', (1,))
    early.on_message('second', (2,))
    assert events.messages == []
    early.pass_on()
    early.on_message('third', (3,))
    assert events.messages == [('first', (1,)), ('second', (2,)), ('third', (3,))]


@pytest.mark.parametrize(
    'args',
    [
        (p64(1), [p64(2)] * 10),
        ({'key': 'x' * 100},),
        (b'x' * 100,),
        ((), [], {}, None),
    ],
)
def test_a_server_that_sends_too_much_before_the_registration_is_at_fault(little, args):
    early = EarlyMessages(Events())
    with pytest.raises(ProtocolError, match='while this client registered .* 1,000 are accepted'):
        for _ in range(100):
            early.on_message('info', args)


def test_a_server_that_sends_too_much_during_the_cache_check_is_at_fault(little):
    state = ClientState(MemoryCache())
    state.hold()
    with pytest.raises(ProtocolError):
        for number in range(100):
            state.on_message('invalidateTransaction', (p64(number), [p64(1)]))


def test_what_was_taken_makes_room(little):
    messages = HeldMessages()
    for _ in range(100):
        messages.add('info', ({'length': 1},))
        assert len(messages.take()) == 1
