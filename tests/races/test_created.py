"""Objects that were just created, restored or deleted are told of like any other change."""

import pytest
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, z64

from support.scripted import Running, invalidation, oid, tid

pytestmark = pytest.mark.smoke


def _told(client):
    client.call('ping')
    return [args for name, args in client.told if name == 'invalidateTransaction']


def test_a_created_object_is_told_to_the_others(serving, raw):
    """Somebody may have looked for it already and remember that it is not there."""
    server = serving(MappingStorage())
    committer, other = raw(server), raw(server)
    committed = committer.commit(1, (oid(7), z64, b'new'), (oid(8), z64, b'new'))
    assert _told(other) == [(committed, [oid(7), oid(8)])]
    assert _told(committer) == []


def test_restored_and_deleted_objects_are_told_to_the_others(serving, raw, tmp_path):
    """These bypass the usual store, and change objects all the same."""
    server = serving(FileStorage(str(tmp_path / 'data.fs')))
    committer, other = raw(server), raw(server)
    committer.tell('tpc_begin', 1, b'', b'', {}, tid(5), ' ')
    committer.tell('restorea', oid(7), tid(5), b'restored', None, 1)
    committer.call('vote', 1)
    assert committer.call('tpc_finish', 1) == tid(5)
    committer.tell('tpc_begin', 2, b'', b'', {}, None, ' ')
    committer.tell('deleteObject', oid(7), tid(5), 2)
    committer.call('vote', 2)
    deleted = committer.call('tpc_finish', 2)
    assert _told(other) == [(tid(5), [oid(7)]), (deleted, [oid(7)])]


def test_undone_objects_are_told_to_the_others(serving, raw, tmp_path):
    """The client that undoes does not know them; the server does."""
    server = serving(FileStorage(str(tmp_path / 'data.fs')))
    committer, other = raw(server), raw(server)
    committer.commit(1, (oid(7), z64, b'one'))
    committed = committer.commit(2, (oid(7), committer.call('getTid', oid(7)), b'two'))
    undo_id = committer.call('undoLog', 0, 1)[0]['id']
    committer.tell('tpc_begin', 3, b'', b'', {}, None, ' ')
    committer.tell('undoa', undo_id, 3)
    committer.call('vote', 3)
    undone = committer.call('tpc_finish', 3)
    assert _told(other)[1:] == [(committed, [oid(7)]), (undone, [oid(7)])]


def test_that_an_object_was_missing_is_not_remembered(connected):
    """Asked again, after its creation, the client asks the server again."""
    client, server = connected(tid(1))
    for _ in range(2):
        looking = Running(client.load, oid(7))
        server.send(server.expect('loadBefore').fault('ZODB.POSException.POSKeyError', (oid(7),)))
        with pytest.raises(POSKeyError):
            looking.result()
    not_yet = Running(client.loadBefore, oid(7), tid(2))
    server.send(server.expect('loadBefore').reply(None))
    assert not_yet.result() is None
    server.send(invalidation(tid(2), oid(7)))
    looking = Running(client.loadBefore, oid(7), maxtid)
    server.send(server.expect('loadBefore').reply((b'new', tid(2), None)))
    assert looking.result() == (b'new', tid(2), None)


def test_an_object_is_found_by_the_client_that_looked_too_early(serving, clients):
    """With ZODB and two clients."""
    server = serving(MappingStorage())
    here, there = ZODB.DB(clients(server.addr)), ZODB.DB(clients(server.addr))
    with there.transaction() as other:
        created = other.root().__class__()
        other.add(created)
        with here.transaction() as early, pytest.raises(POSKeyError):
            early.get(created._p_oid)
        other.root()['new'] = created
    here.storage.ping()
    with here.transaction() as later:
        assert later.get(created._p_oid) is later.root()['new']
