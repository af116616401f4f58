"""A message costs a server few Python calls between its frame and its answer.

Time is not measured here, which differs from run to run, but calls, which do not.
"""

import sys

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, z64

import ZEO.serving
from support.in_memory import Client
from ZEO.StorageServer import Limits, StorageServer

SERVING = ZEO.serving.__path__[0]


def serving_calls(client, data):
    """Return the names of the functions of serving that are called for some frames."""
    messages, names = client.messages(data), []

    def called(code, event, arg):
        if event == 'call' and code.f_code.co_filename.startswith(SERVING):
            names.append(code.f_code.co_name)

    sys.setprofile(called)
    try:
        client.peer.handle(messages)
    finally:
        sys.setprofile(None)
    return names


@pytest.fixture(params=[b'Z5', b'M5'], ids=['Z5', 'M5'])
def client(request, tmp_path, socket_path):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    server = StorageServer(
        socket_path, {'1': storage}, msgpack=request.param == b'M5', limits=Limits(turn=60)
    )
    client = Client(server, request.param)
    client.give(client.send('tpc_begin', 1, b'', b'', b'', None, ' '))
    client.give(client.send('storea', p64(1), z64, b'data', 1))
    client.give(client.call('vote', 1))
    client.give(client.call('tpc_finish', 1))
    client.give(client.codec.load_before(5, p64(1), maxtid))  # which keeps the record in memory
    yield client
    server.close()


def test_a_load_takes_three(client):
    load = client.codec.load_before(5, p64(1), maxtid)
    assert serving_calls(client, load) == ['handle', 'load', 'load']
    assert client.channel.sent[-1].count(b'data') == 1


def test_each_load_of_several_takes_two(client):
    load = client.codec.load_before(5, p64(1), maxtid)
    assert serving_calls(client, load * 4) == ['handle', '_several', *['load'] * 8]


@pytest.mark.parametrize('name', ['ping', 'lastTransaction'])
def test_a_simple_call_takes_four_or_five(client, name):
    client.give(client.call(name))  # which binds it
    names = serving_calls(client, client.call(name))
    assert names[:3] == ['handle', 'dispatch', name] and names[-1] == 'answer'
    assert len(names) <= 5


def test_a_store_comes_to_its_transaction_in_three(client):
    store = client.send('storea', p64(2), z64, b'more', 2)
    client.give(client.send('tpc_begin', 2, b'', b'', b'', None, ' ') + store)
    assert serving_calls(client, store)[:3] == ['handle', 'dispatch', 'storea']


def test_a_small_commit_that_comes_whole_takes_few(client):
    if client.codec.name == b'M5':
        pytest.skip('each message of M5 has its own way')

    def commit(number, serial):
        begin = client.send('tpc_begin', number, b'user', b'what', b'', None, ' ')
        store = client.send('storea', p64(2), serial, b'data', number)
        return begin + store + client.call('vote', number), client.call('tpc_finish', number)

    for data in commit(2, z64):
        client.give(data)
    vote, finish = commit(3, client.codec.decode(client.channel.sent[-1][-30:])[3])
    assert len(serving_calls(client, vote)) <= 20
    assert len(serving_calls(client, finish)) <= 32
