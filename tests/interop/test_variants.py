"""Clients of both sides on one server that speaks M5, or TLS."""

import pytest
from ZODB.utils import z64

from support import kinds, sets
from support.children import RemoteError
from support.sides import PEER

pytest.importorskip('msgpack')
trustme = pytest.importorskip('trustme')


def msgpack(new_server, server_side, tmp_path):
    """Serve with messages packed by msgpack; return the options that clients need."""
    storage = (
        f'<filestorage 1>\n path {tmp_path}/data.fs\n blob-dir {tmp_path}/blobs\n</filestorage>'
    )
    server = new_server(server_side, options='msgpack true', storage=storage)
    return {'address': server.start().address}


def tls(new_server, server_side, tmp_path):
    """Serve with TLS, for clients that have a certificate; return the options that they need."""
    authority = trustme.CA()
    files = {name: str(tmp_path / f'{name}.pem') for name in ('ca', 'server', 'client')}
    authority.cert_pem.write_to_path(files['ca'])
    for name in ('server', 'client'):
        authority.issue_cert('localhost').private_key_and_cert_chain_pem.write_to_path(files[name])
    section = (
        f'<ssl>\n certificate {files["server"]}\n key {files["server"]}\n'
        f' authenticate {files["ca"]}\n</ssl>'
    )
    server = new_server(server_side, options=section, tcp=True).start()
    return {'address': server.address, 'tls': [files['ca'], files['client'], files['client']]}


@pytest.fixture(params=[msgpack, tls])
def options(request, new_server, server_side, tmp_path):
    """Run a test with each of them."""
    return request.param(new_server, server_side, tmp_path)


@pytest.fixture(params=['ours writes', 'peer writes'])
def pair(request, agents, options):
    """Open clients of both sides; return them, the one that writes first in front."""
    for agent in agents:
        agent.call('open', **options)
    return agents if request.param == 'ours writes' else agents[::-1]


def test_load_store_and_conflict(pair):
    """Data of all sizes, errors with their attributes, invalidations."""
    writer, reader = pair
    oid = writer.call('call', method='new_oid')
    tid = writer.call('store', records=[[oid, z64, b'large' * 100_000]], user='me')
    assert reader.call('call', method='load', args=[oid, '']) == [b'large' * 100_000, tid]
    old = writer.call('set', key='old')
    reader.call('await_value', key='key', value='old')
    reader.call('begin', key='mine')
    new = writer.call('set', key='new')
    with pytest.raises(RemoteError) as caught:
        reader.call('commit')
    assert caught.value.is_a('ConflictError')
    assert caught.value.attributes['serials'] == [new, old]
    reader.call('await_value', key='key', value='new')


def test_undo_history_iteration_and_pack(pair):
    """Dictionaries, tuples and None on the wire."""
    first, second = pair
    first.call('set', key='old')
    first.call('set', key='new')
    second.call('await_value', key='key', value='new')
    second.call('undo')
    first.call('await_value', key='key', value='old')
    for command in (
        {'command': 'iterate'},
        {'command': 'records'},
        {'command': 'call', 'method': 'undoLog', 'args': [0, 20]},
        {'command': 'call', 'method': 'history', 'args': [z64], 'size': 10},
    ):
        assert first.call(**command) == second.call(**command)
    first.call('pack')
    assert second.call('get', key='key') == 'old'


@pytest.mark.parametrize('options', [msgpack], indirect=True)
def test_blobs(pair, options, tmp_path):
    """Blobs over the wire."""
    for name, agent in zip('ab', pair, strict=True):
        agent.call('close')
        agent.call('open', **options, blob_dir=str(tmp_path / name))
    first, second = pair
    first.call('set_blob', key='blob', content=b'content', times=50_000)
    second.call('await_key', key='blob')
    assert second.call('get_blob', key='blob') == b'content' * 50_000


class TestOursOnPeerWithMsgpack(sets.Undo, sets.Iteration):
    """Our client, and a server of ZEO 6 that speaks M5."""

    kind = kinds.FILE
    side = PEER
    server_options = {'msgpack': True}
    use_extension_bytes = False  # it sends extensions as dicts
