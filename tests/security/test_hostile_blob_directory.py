"""A shared blob directory in which another user of the machine, who may write there, puts other
things than files: the server goes on serving, and sends and moves no file of its own.
"""

import os
import pickle
import shutil

import pytest
from ZODB.utils import z64

from support.bounded import BoundedServer
from support.scripted import oid

RECORD = pickle.dumps(('module', 'Class'), 3) + pickle.dumps({}, 3)

#: A user who is neither root nor the one that runs the server.
ANOTHER = 54322

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root makes files of other users')


@pytest.fixture
def server():
    server = BoundedServer()
    server.serve()
    yield server
    server.close()


def folder_of(server, number):
    return server.directory / 'blobs' / os.path.join(*(f'0x{byte:02x}' for byte in oid(number)))


def share(server, number, content=b'shared', name='store-x.tmp'):
    """Put a file where a client that shares the directory does; return its path."""
    folder = folder_of(server, number)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


def begin_blob(server, client, number):
    """Have a client of the directory store a blob; return the path of the file."""
    path = share(server, number)
    client.begin(number)
    client.tell('storeBlobShared', oid(number), z64, RECORD, path.name, number)
    client.call('ping')
    return path


def commit_blob(server, client, number):
    """The same, up to the end; return the path of the committed file, and its tid."""
    begin_blob(server, client, number)
    client.call('vote', number)
    tid = client.call('tpc_finish', number)
    (path,) = folder_of(server, number).glob('*.blob')
    return path, tid


def link(target, path, owner=ANOTHER):
    os.symlink(target, path)
    os.chown(path, owner, owner, follow_symlinks=False)


def fifo(path):
    os.mkfifo(path)


def foreign_link(path):
    secret = path.parents[len(path.parts) - 4] / 'secret'
    link(secret, path)


def directory(path):
    os.mkdir(path)


def received(client, number, tid):
    """Ask for a blob; return the chunks that come before the answer, and the answer."""
    asked = client.ask('sendBlob', oid(number), tid)
    chunks = []
    while True:
        message_id, _, name, args = client.next()
        if name == 'receiveBlobChunk':
            chunks.append(bytes(args[2]))
        if message_id == asked and name.startswith('.'):
            return b''.join(chunks), args


INSTEAD = [
    pytest.param(fifo, id='FIFO'),
    pytest.param(directory, id='directory'),
    pytest.param(foreign_link, id='link', marks=needs_root),
]


@pytest.mark.parametrize('make', INSTEAD)
def test_what_is_in_the_place_of_a_committed_blob_is_not_sent(server, make):
    (server.directory / 'secret').write_bytes(b'secret')
    client, other = server.client(), server.client()
    path, tid = commit_blob(server, client, 5)
    path.unlink()
    make(path)
    content, answer = received(client, 5, tid)
    assert content == b'' and 'secret' not in repr(answer)
    assert 'the server cannot read the file of this blob' in repr(answer)
    other.call('ping')


@pytest.mark.parametrize('make', INSTEAD)
def test_what_takes_the_place_of_a_file_before_the_vote_is_not_committed(server, make):
    secret = server.directory / 'secret'
    secret.write_bytes(b'secret')
    secret.chmod(0o600)
    client, other = server.client(), server.client()
    path = begin_blob(server, client, 6)
    path.unlink()
    make(path)
    with pytest.raises(Exception, match='not a regular file|symbolic link'):
        client.call('vote', 6)
    client.call('tpc_abort', 6)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert list(folder_of(server, 6).glob('*.blob')) == []
    other.commit(9, (oid(9), z64, RECORD))


@needs_root
def test_files_of_the_server_are_not_moved_through_a_directory_that_is_a_link(server):
    mine = server.directory / 'mine'
    mine.mkdir()
    (mine / 'secret').write_bytes(b'secret')
    folder = folder_of(server, 7)
    folder.parent.mkdir(parents=True)
    link(mine, folder)
    client = server.client()
    client.begin(7)
    client.tell('storeBlobShared', oid(7), z64, RECORD, 'secret', 7)
    assert client.ended() == []
    assert os.listdir(mine) == ['secret']
    server.client().commit(9, (oid(9), z64, RECORD))


@needs_root
def test_a_directory_that_becomes_a_link_before_the_vote_leads_nowhere(server):
    mine = server.directory / 'mine'
    mine.mkdir()
    (mine / 'store-x.tmp').write_bytes(b'secret')
    client = server.client()
    path = begin_blob(server, client, 8)
    shutil.rmtree(path.parent)
    link(mine, path.parent)
    with pytest.raises(Exception, match='symbolic link'):
        client.call('vote', 8)
    client.call('tpc_abort', 8)
    assert os.listdir(mine) == ['store-x.tmp']


@needs_root
def test_links_that_the_operator_has_made_are_followed(server):
    client = server.client()
    path, tid = commit_blob(server, client, 5)
    elsewhere = server.directory / 'elsewhere'
    path.rename(elsewhere)
    link(elsewhere, path, owner=0)
    assert received(client, 5, tid)[0] == b'shared'
