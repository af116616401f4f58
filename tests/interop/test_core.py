"""Clients of both sides on one server, of either side: load, store, conflicts, restarts."""

from contextlib import closing

import pytest
from ZODB.utils import p64, z64

from support.children import RemoteError
from support.proxy import Proxy
from support.sides import OURS


@pytest.fixture(params=['ours writes', 'peer writes'])
def both(request, agents):
    """Return clients of both sides, the one that writes first in front."""
    return agents if request.param == 'ours writes' else agents[::-1]


def opened(agents, address):
    """Open clients of a server."""
    for agent in agents:
        agent.call('open', address=address)
    return agents


@pytest.fixture
def pair(both, serve, server_side):
    """Open both on a fresh storage."""
    return opened(both, serve(server_side))


@pytest.fixture
def server(new_server, server_side):
    """Start a server that can be stopped, on our side by the classic command."""
    server = new_server(server_side)
    return restart(server)


def restart(server):
    """Start a server that does not run."""
    return server.start_classic() if server.side is OURS else server.start()


@pytest.fixture
def pair_to_restart(both, server):
    """Open both on a server that can be stopped."""
    return opened(both, server.address)


def test_register_tells_what_the_storage_is(pair):
    """Both learn the same of the storage."""
    writer, reader = pair
    writer.call('set', key=1)
    for agent in pair:
        assert agent.call('call', method='supportsUndo')
        assert not agent.call('call', method='isReadOnly')
        provided = agent.call('provides')
        for name in ('IStorageUndoable', 'IStorageIteration', 'IStorageCurrentRecordIteration'):
            assert name in provided
    assert writer.call('call', method='__len__') == 1
    assert writer.call('call', method='getSize') > 0


def test_an_unknown_storage_is_an_error(new_agent, serve, server_side):
    """Our client says at once that the name is wrong."""
    with pytest.raises(RemoteError) as caught:
        new_agent('ours').call('open', address=serve(server_side), storage='nothing')
    assert caught.value.is_a('ClientStorageError')
    assert 'nothing' in caught.value.text


@pytest.mark.smoke
def test_load_and_store(pair):
    """What one stores the other loads, with the same tids."""
    writer, reader = pair
    oid = writer.call('call', method='new_oid')
    first = writer.call('store', records=[[oid, z64, b'first']], user='me', description='why')
    second = writer.call('store', records=[[oid, first, b'second' * 50_000]])
    reader.call('call', method='ping')
    for agent in pair:
        assert agent.call('call', method='lastTransaction') == second
        assert agent.call('call', method='load', args=[oid, '']) == [b'second' * 50_000, second]
        assert agent.call('call', method='loadBefore', args=[oid, second]) == [
            b'first',
            first,
            second,
        ]
        assert agent.call('call', method='loadBefore', args=[oid, first]) is None
        assert agent.call('call', method='loadSerial', args=[oid, first]) == b'first'
        assert agent.call('call', method='getTid', args=[oid]) == second
        history = agent.call('call', method='history', args=[oid], size=5)
        assert [entry['tid'] for entry in history] == [second, first]
        assert history[1]['user_name'] in (b'me', 'me')
        assert history[1]['description'] in (b'why', 'why')


def test_new_oids_do_not_collide(pair):
    """The server gives every oid to one client only."""
    given = [agent.call('call', method='new_oid') for _ in range(40) for agent in pair]
    assert len(set(given)) == len(given)


def test_what_is_not_there(pair):
    """A missing object is a POSKeyError with its oid."""
    oid = p64(12345)
    for agent in pair:
        with pytest.raises(RemoteError) as caught:
            agent.call('call', method='loadBefore', args=[oid, p64(2**62)])
        assert caught.value.is_a('POSKeyError')
        assert caught.value.values == [oid]


@pytest.mark.smoke
def test_invalidation(pair):
    """A change of one is seen by the other, who had the object loaded."""
    writer, reader = pair
    writer.call('set', key='old')
    reader.call('await_value', key='key', value='old')
    writer.call('set', key='new')
    reader.call('await_value', key='key', value='new')
    reader.call('set', key='newer')
    writer.call('await_value', key='key', value='newer')


def test_snapshot(pair):
    """A transaction goes on seeing the state in which it began."""
    writer, reader = pair
    writer.call('set', key='old')
    reader.call('await_value', key='key', value='old')
    reader.call('begin', other=1)
    serial = writer.call('set', key='new')
    reader.call('call', method='ping')
    assert reader.call('root_serial') == serial
    with pytest.raises(RemoteError) as caught:
        reader.call('commit')
    assert caught.value.is_a('ConflictError')
    assert reader.call('get', key='key') == 'new'
    assert reader.call('get', key='other') is None


@pytest.mark.smoke
def test_conflict(pair):
    """A conflict is a ConflictError with oid, class and both serials."""
    writer, reader = pair
    old = writer.call('set', key='old')
    reader.call('await_value', key='key', value='old')
    reader.call('begin', key='mine')
    new = writer.call('set', key='new')
    with pytest.raises(RemoteError) as caught:
        reader.call('commit')
    assert caught.value.is_a('ZODB.POSException.ConflictError')
    attributes = caught.value.attributes
    assert attributes['oid'] == z64
    assert attributes['class_name'] == 'persistent.mapping.PersistentMapping'
    assert attributes['serials'] == [new, old]
    assert attributes['message'].startswith('database conflict error')


def test_commits_take_turns(pair):
    """A vote waits for the one who holds the storage's commit lock, then it may go on."""
    first, second = pair
    oids = [first.call('call', method='new_oid') for _ in range(2)]
    first.call('vote', records=[[oids[0], z64, b'a']])
    second.send('vote', records=[[oids[1], z64, b'b']])
    assert not second.ready(0.2)
    before = first.call('finish')
    second.result()
    assert second.call('finish') > before


def test_a_commit_ends_with_its_client(pair):
    """A client that dies while it holds the commit lock does not keep it."""
    first, second = pair
    oids = [first.call('call', method='new_oid') for _ in range(2)]
    first.call('vote', records=[[oids[0], z64, b'a']])
    second.send('vote', records=[[oids[1], z64, b'b']])
    first.kill()
    second.result()
    tid = second.call('finish')
    assert second.call('call', method='lastTransaction') == tid


@pytest.mark.parametrize('end', ['kill', 'stop'])
def test_restart(pair_to_restart, server, end):
    """Both come back by themselves after a restart, and see what happened before and after."""
    writer, reader = pair_to_restart
    writer.call('set', key='before')
    reader.call('await_value', key='key', value='before')
    getattr(server, end)()
    for agent in pair_to_restart:
        agent.call('await_connected', connected=False)
    restart(server)
    for agent in pair_to_restart:
        agent.call('await_connected')
        agent.call('await_value', key='key', value='before')
    writer.call('set', key='after')
    reader.call('await_value', key='key', value='after')


def test_a_transaction_does_not_survive_a_restart(pair_to_restart, server):
    """What was begun before a restart fails with ClientDisconnected, and is not stored."""
    writer, reader = pair_to_restart
    oid = writer.call('call', method='new_oid')
    reader.call('vote', records=[[oid, z64, b'never']])
    server.kill()
    restart(server)
    with pytest.raises(RemoteError) as caught:
        reader.call('finish')
    assert caught.value.is_a('ClientDisconnected')
    writer.call('await_connected')
    with pytest.raises(RemoteError) as caught:
        writer.call('call', method='load', args=[oid, ''])
    assert caught.value.is_a('POSKeyError')


@pytest.mark.parametrize('reading', ['ours', 'peer'])
def test_what_was_missed_is_caught_up(reading, new_agent, serve, server_side):
    """A client that was away while another committed sees the change without one more commit."""
    reader, writer = new_agent(reading), new_agent('ours')
    address = serve(server_side)
    with closing(Proxy(address)) as proxy:
        writer.call('open', address=address)
        reader.call('open', address=proxy.address)
        writer.call('set', key='before')
        reader.call('await_value', key='key', value='before')
        proxy.cut()
        reader.call('await_connected', connected=False)
        writer.call('set', key='meanwhile')
        proxy.mend()
        reader.call('await_connected')
        reader.call('await_value', key='key', value='meanwhile')


def test_status(pair):
    """The server counts what both do."""
    writer, reader = pair
    writer.call('set', key=1)
    for agent in pair:
        status = agent.call('call', method='server_status')
        assert status['connections'] == 2
        assert status['commits'] >= 1
        assert status['last-transaction'] == writer.call('root_serial').hex()


def test_a_transaction_that_took_too_long_may_be_tried_again(agents, serve):
    """Our server ends it; frameworks try again after a TransientError, and the connection goes
    on.
    """
    address = serve(OURS, transaction_timeout=1.5)  # in which a store on a slow machine is done
    opened(agents, address)
    for number, (late, other) in enumerate((agents, agents[::-1])):
        late.call('vote', records=[[p64(10 + number), z64, b'late']])
        other.call('store', records=[[p64(20 + number), z64, b'x']])  # which waits for the lock
        with pytest.raises(RemoteError, match='transaction-timeout') as failed:
            late.call('finish')
        assert failed.value.is_a('TransientError'), failed.value.classes
        late.call('call', method='ping')  # ZEO 6 connects again after a finish that has failed
        late.call('store', records=[[p64(10 + number), z64, b'again']])
