"""Undo, blobs, iteration, pack, conflict resolution and failover with clients of both sides."""

import pytest
from ZODB.utils import z64

from support.children import RemoteError
from support.sides import OURS

CHUNK = bytes(range(256)) * 1024  # a blob of several chunks, in pieces that do not fit them


@pytest.fixture(params=['ours writes', 'peer writes'])
def pair(request, agents):
    """Return clients of both sides, the one that writes first in front."""
    return agents if request.param == 'ours writes' else agents[::-1]


@pytest.fixture
def address(serve, server_side):
    """Serve a FileStorage with blobs."""
    return serve(server_side, blobs=True)


@pytest.fixture
def opened(pair, address):
    """Open both."""
    for agent in pair:
        agent.call('open', address=address)
    return pair


class TestUndo:
    """Undo."""

    def test_undo(self, opened):
        """What one undoes the other sees undone."""
        first, second = opened
        first.call('set', key='old')
        first.call('set', key='new')
        second.call('await_value', key='key', value='new')
        second.call('undo')
        first.call('await_value', key='key', value='old')
        first.call('undo')
        second.call('await_value', key='key', value='new')

    def test_undo_log(self, opened):
        """Both read the same log."""
        first, second = opened
        oid = first.call('call', method='new_oid')
        tid = first.call('store', records=[[oid, z64, b'x']], user='me', description='why')
        tid = second.call('store', records=[[oid, tid, b'y']], user='you', description='because')
        logs = [agent.call('call', method='undoLog', args=[0, 20]) for agent in opened]
        assert logs[0] == logs[1]
        assert [entry['description'] for entry in logs[0]][:2] == [b'because', b'why']
        info = [
            agent.call('call', method='undoInfo', args=[0, 20, {'user_name': b'me'}])
            for agent in opened
        ]
        assert info[0] == info[1]
        assert [entry['description'] for entry in info[0]] == [b'why']

    def test_what_can_not_be_undone(self, opened):
        """A transaction that later ones build on is refused with UndoError."""
        first, second = opened
        oid = first.call('call', method='new_oid')
        tid = first.call('store', records=[[oid, z64, b'one']])
        tid = first.call('store', records=[[oid, tid, b'two']])
        first.call('store', records=[[oid, tid, b'three']])
        for agent in opened:
            with pytest.raises(RemoteError) as caught:
                agent.call('undo', index=1)
            assert caught.value.is_a('UndoError')
            assert agent.call('call', method='load', args=[oid, ''])[0] == b'three'


class TestBlobs:
    """Blobs, in a directory that all share, and over the wire."""

    @pytest.fixture(params=['shared', 'transferred'])
    def with_blobs(self, request, pair, address, tmp_path):
        """Open both clients with a blob directory."""
        for name, agent in zip('ab', pair, strict=True):
            shared = request.param == 'shared'
            blob_dir = tmp_path / ('server/blobs' if shared else f'client-{name}')
            agent.call('open', address=address, blob_dir=str(blob_dir), shared_blob_dir=shared)
        return pair

    @pytest.mark.parametrize('times', [0, 1, 20])
    def test_blob(self, with_blobs, times):
        """What one stores the other reads, and what it changes the first one reads."""
        first, second = with_blobs
        first.call('set_blob', key='blob', content=CHUNK, times=times)
        second.call('await_key', key='blob')
        assert second.call('get_blob', key='blob') == CHUNK * times
        second.call('set_blob', key='blob', content=b'new')
        first.call('await_blob', key='blob', content=b'new')

    def test_undo(self, with_blobs):
        """Undoing a change of a blob brings the file back."""
        first, second = with_blobs
        first.call('set_blob', key='blob', content=b'old')
        first.call('set_blob', key='blob', content=b'new')
        second.call('await_key', key='blob')
        second.call('await_blob', key='blob', content=b'new')
        second.call('undo')
        first.call('await_blob', key='blob', content=b'old')

    def test_a_blob_that_is_not_there(self, with_blobs):
        """It is a POSKeyError."""
        for agent in with_blobs:
            with pytest.raises(RemoteError) as caught:
                agent.call(
                    'call', method='loadBlob', args=[b'\0' * 7 + b'\x09', b'\0' * 7 + b'\x01']
                )
            assert caught.value.is_a('POSKeyError')

    def test_copy(self, with_blobs, serve, server_side, tmp_path):
        """Our client copies a database with its blobs, all revisions; ZEO 6's clients can not."""
        for content in (CHUNK * 2, b'new'):
            with_blobs[0].call('set_blob', key='blob', content=content)
        ours, peer = sorted(with_blobs, key=lambda agent: agent.side.name)
        other = serve(server_side, 'other', blobs=True)
        ours.call('copy_to', address=other, blob_dir=str(tmp_path / 'copying'))
        before = ours.call('blobs')
        assert [content for *_, content in before] == [CHUNK * 2, b'new']
        peer.call('close')
        peer.call('open', address=other, blob_dir=str(tmp_path / 'reading'))
        assert peer.call('blobs') == before
        assert peer.call('get_blob', key='blob') == b'new'


class TestIteration:
    """Iteration and copying."""

    def test_iterators_agree(self, opened):
        """Both find the same transactions and records, whole and in part."""
        first, second = opened
        tids = [
            agent.call('set', **{f'key{n}': n})
            for n in range(5)
            for agent in opened
            if agent.call('await_synced') is None
        ]
        first.call('undo')
        assert first.call('iterate') == second.call('iterate')
        assert len(first.call('iterate')) == 12
        part = first.call('iterate', start=tids[2], stop=tids[5])
        assert part == second.call('iterate', start=tids[2], stop=tids[5])
        assert [txn['tid'] for txn in part] == tids[2:6]

    def test_copy(self, opened, serve, server_side):
        """A copy is the same database, whoever copies and wherever to."""
        first, second = opened
        for n in range(20):
            first.call('set', **{f'key{n}': n})
        second.call('await_synced')
        second.call('undo')
        before = first.call('iterate')
        for name, agent in zip('ab', opened, strict=True):
            other = serve(server_side, name)
            agent.call('copy_to', address=other)
            agent.call('close')
            agent.call('open', address=other)
            assert agent.call('iterate') == before

    def test_record_iteration(self, opened):
        """Both walk over all current records."""
        first, second = opened
        first.call('set', key=1)
        oid = first.call('call', method='new_oid')
        tid = first.call('store', records=[[oid, z64, b'data']])
        walks = [agent.call('records') for agent in opened]
        assert walks[0] == walks[1]
        assert [oid, tid, b'data'] in walks[0]
        assert len(walks[0]) == 2

    def test_deleted_objects(self, opened):
        """An object that one deletes is gone for both."""
        first, second = opened
        oid = first.call('call', method='new_oid')
        tid = first.call('store', records=[[oid, z64, b'data']])
        first.call('delete', oid=oid, serial=tid)
        with pytest.raises(RemoteError) as caught:
            second.call('call', method='load', args=[oid, ''])
        assert caught.value.is_a('POSKeyError')


class TestPack:
    """Pack."""

    def test_pack(self, opened):
        """Whoever packs, old revisions are gone and the current state stays."""
        first, second = opened
        old = first.call('set', key='old')
        first.call('set', key='new')
        second.call('await_value', key='key', value='new')
        second.call('pack')
        assert len(first.call('iterate')) == 1
        for agent in opened:
            assert agent.call('get', key='key') == 'new'
            with pytest.raises(RemoteError) as caught:
                agent.call('call', method='loadSerial', args=[z64, old])
            assert caught.value.is_a('POSKeyError')

    def test_sizes_are_told(self, opened):
        """After a pack both know the new sizes."""
        first, second = opened
        first.call('set', key=['garbage'] * 10_000)
        first.call('set', key=None)
        second.call('await_value', key='key', value=None)
        size = first.call('call', method='getSize')
        first.call('pack')
        for agent in opened:
            agent.call('await_smaller', size=size)


class TestConflictResolution:
    """Conflicts of a class that the server can not import."""

    @pytest.fixture
    def address(self, new_server, server_side):
        """Serve a FileStorage that leaves conflicts to its clients."""
        options = 'client-conflict-resolution true'
        return new_server(server_side, options=options).start().address

    def test_the_client_resolves(self, opened):
        """The client that comes second resolves, and both see both changes."""
        first, second = opened
        first.call('new_counter', key='counter')
        second.call('await_key', key='counter')
        second.call('count', key='counter', steps=10)
        first.call('count', key='counter', steps=1)
        first.call('commit')
        second.call('commit')
        for agent in opened:
            agent.call('await_synced')
            assert agent.call('counted', key='counter') == 11

    def test_what_no_client_can_resolve(self, opened):
        """It is a ConflictError."""
        first, second = opened
        old = first.call('set', key='old')
        second.call('await_value', key='key', value='old')
        second.call('begin', key='mine')
        new = first.call('set', key='new')
        with pytest.raises(RemoteError) as caught:
            second.call('commit')
        assert caught.value.is_a('ConflictError')
        assert caught.value.attributes['serials'] == [new, old]


def test_conflict_that_only_our_client_can_resolve(pair, new_server):
    """Without any setting, our server asks our client; a client of ZEO 6 gets ConflictError."""
    server = new_server(OURS).start()
    for agent in pair:
        agent.call('open', address=server.address)
    first, second = pair
    first.call('new_counter', key='counter')
    second.call('await_key', key='counter')
    second.call('count', key='counter', steps=10)
    first.call('count', key='counter', steps=1)
    first.call('commit')
    if second.side is OURS:
        second.call('commit')
        assert second.call('counted', key='counter') == 11
    else:
        with pytest.raises(RemoteError) as caught:
            second.call('commit')
        assert caught.value.is_a('ConflictError')
        assert caught.value.attributes['class_name'] == 'support.counters.Counter'


class TestReadOnly:
    """Clients and servers that only read."""

    def test_a_client_that_only_reads(self, pair, address):
        """It sees changes, and may not make any."""
        writer, reader = pair
        writer.call('open', address=address)
        writer.call('set', key='old')
        reader.call('open', address=address, read_only=True)
        assert reader.call('get', key='key') == 'old'
        writer.call('set', key='new')
        reader.call('await_value', key='key', value='new')
        assert reader.call('call', method='isReadOnly')
        with pytest.raises(RemoteError) as caught:
            reader.call('set', key='mine')
        assert caught.value.is_a('ReadOnlyError')

    @pytest.fixture
    def server(self, new_server, server_side):
        """Start a server that can be stopped."""
        return new_server(server_side).start()

    @pytest.fixture
    def read_only_server(self, new_server, server_side, server, new_agent):
        """Serve what `server` had, which is stopped, for reading only."""
        writer = new_agent('ours')
        writer.call('open', address=server.address)
        writer.call('set', key='old')
        writer.call('close')
        server.stop()
        path = server.directory / 'data.fs'
        storage = f'<filestorage 1>\n path {path}\n read-only true\n</filestorage>'
        return new_server(server_side, 'readers', storage=storage).start()

    def test_a_server_that_only_lets_read(self, pair, read_only_server):
        """It refuses who wants to write, and takes who falls back."""
        for agent in pair:
            agent.call('open', address=read_only_server.address, read_only_fallback=True)
            assert agent.call('get', key='key') == 'old'
            assert agent.call('call', method='isReadOnly')
            with pytest.raises(RemoteError) as caught:
                agent.call('set', key='mine')
            assert caught.value.is_a('ReadOnlyError')

    def test_our_client_is_told_why(self, new_agent, read_only_server):
        """It does not wait for what can not come."""
        with pytest.raises(RemoteError) as caught:
            new_agent('ours').call('open', address=read_only_server.address)
        assert caught.value.is_a('ReadOnlyError')

    @pytest.mark.parametrize('pair', ['ours writes'], indirect=True)
    def test_fallback(self, pair, read_only_server, server):
        """A client that has fallen back changes over when a server comes that lets it write."""
        addresses = [read_only_server.address, server.address]
        for agent in pair:
            agent.call(
                'open',
                address=addresses,
                read_only_fallback=True,
                min_disconnect_poll=1,
                max_disconnect_poll=1,
            )
            assert agent.call('get', key='key') == 'old'
        read_only_server.stop()
        server.start()
        for agent in pair:
            agent.call('await_writable')
        writer, reader = pair
        writer.call('set', key='new')
        reader.call('await_value', key='key', value='new')
