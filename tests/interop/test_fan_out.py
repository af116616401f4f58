"""A server of ours behind another one, of either side, with clients of both."""

import time

import pytest

from support.children import RemoteError
from support.sides import OURS


@pytest.fixture
def chain(new_server, server_side, tmp_path):
    """Two servers in a row, the first of either side."""
    first = new_server(server_side, 'first').start()
    second = new_server(
        OURS, 'second', storage=f'<clientstorage 1>\n server {first.address}\n</clientstorage>'
    )
    return first, second.start()


def test_a_client_that_syncs_sees_what_was_committed_at_the_server_behind(chain, agents):
    """Every time, and by the call that clients of ZEO 6 make for it."""
    first, second = chain
    ours, peer = agents
    for reader, writer in ((ours, peer), (peer, ours)):
        writer.call('open', address=first.address)
        reader.call('open', address=second.address, server_sync=True)
        for number in range(15):
            writer.call('set', key=number)
            assert reader.call('get', key='key') == number
        writer.call('close')
        reader.call('close')


def _tried_again(function, patience=20.0):
    """Do it as frameworks do, until the connections stand again."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return function()
        except RemoteError as error:
            if not error.is_a('TransientError') or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_clients_of_both_sides_catch_up_when_the_first_server_was_killed(chain, agents):
    """What was committed meanwhile is seen, and commits go on with oids that nothing else has."""
    first, second = chain
    for number, agent in enumerate(agents):
        agent.call('open', address=second.address)
        agent.call('set', **{f'key{number}': number})
    first.kill()
    first.start()
    for number, agent in enumerate(agents):
        _tried_again(
            lambda agent=agent, number=number: agent.call('new_counter', key=f'counter{number}')
        )
    for agent in agents:
        _tried_again(lambda agent=agent: agent.call('await_synced'))
        for number in range(2):
            agent.call('await_value', key=f'key{number}', value=number)
            agent.call('await_key', key=f'counter{number}')
