"""A pack on the server, and what clients remember of what it removed."""

import binascii
import os
import sys
import threading
import time

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileStorageError
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, z64

from support.scripted import Running, oid
from ZEO.net.interpreter_sharing import NICER

pytestmark = pytest.mark.smoke


class Packable(FileStorage):
    """A FileStorage of which everything but the current revisions is removed, garbage or not."""

    packing = staticmethod(lambda: None)  # called in the middle of a pack

    def pack(self, t, referencesf, gc=True):
        self.packing()
        super().pack(t, referencesf, gc=False)


def _three_revisions(client):
    """Store an object three times; return the tids."""
    tids = [z64]
    for number in (1, 2, 3):
        tids.append(client.commit(number, (oid(1), tids[-1], b'%d' % number)))
    return tids[1:]


@pytest.mark.parametrize('packs_itself', [True, False])
def test_old_revisions_in_a_client_cache_do_not_outlive_a_pack(
    serving, raw, clients, tmp_path, packs_itself
):
    """What the server does not have any more, no client answers with; what is current stays in the
    cache.
    """
    server = serving(Packable(str(tmp_path / 'data.fs')))
    other = raw(server)
    first, second, third = _three_revisions(other)
    client = clients(server.addr)
    assert client.loadBefore(oid(1), second) == (b'1', first, second)
    assert client.loadBefore(oid(1), third) == (b'2', second, third)
    assert client.load(oid(1)) == (b'3', third)
    if packs_itself:
        client.pack(time.time() + 1)
    else:
        other.call('pack', time.time() + 1, True)
        client.ping()  # behind the news of the pack
    assert _removed(client, second) and _removed(client, third)
    loads = client.server_status()['loads']
    assert client.load(oid(1)) == (b'3', third)
    assert client.server_status()['loads'] == loads


def _removed(client, before):
    try:
        return client.loadBefore(oid(1), before) is None
    except POSKeyError:
        return True


def test_others_load_and_commit_while_a_pack_runs(serving, raw, tmp_path):
    """The pack is in a worker thread; only a commit that comes at its very end waits for it."""
    inside, go_on = threading.Event(), threading.Event()
    storage = Packable(str(tmp_path / 'data.fs'))
    storage.packing = lambda: (inside.set(), go_on.wait(20))
    server = serving(storage)
    packer, other = raw(server), raw(server)
    tids = _three_revisions(other)
    packing = Running(packer.call, 'pack', time.time() + 1, True)
    assert inside.wait(20)
    assert other.call('loadBefore', oid(1), maxtid) == (b'3', tids[-1], None)
    other.commit(4, (oid(1), tids[-1], b'4'))
    assert other.call('server_status')['packing']
    go_on.set()
    assert packing.result() is None
    assert other.call('loadBefore', oid(1), maxtid)[0] == b'4'


def test_an_object_that_was_packed_away_is_not_served_from_the_servers_memory(
    serving, raw, tmp_path
):
    # which removes what nothing refers to
    server = serving(FileStorage(str(tmp_path / 'data.fs')))
    client = raw(server)
    client.commit(1, (z64, z64, b'(K\x01t.N.'), (oid(1), z64, b'N.N.'))
    assert client.call('loadBefore', oid(1), maxtid)[0] == b'N.N.'
    client.call('pack', time.time() + 1, True)
    with pytest.raises(Exception, match='POSKeyError|KeyError'):
        client.call('loadBefore', oid(1), maxtid)


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux knows priorities of threads')
def test_a_pack_goes_second_to_the_loop(serving, raw, tmp_path):
    storage, seen = Packable(str(tmp_path / 'data.fs')), []
    storage.packing = lambda: seen.append(
        (len(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0))
    )
    client = raw(serving(storage))
    client.commit(1, (z64, z64, b'(K\x01t.N.'))
    client.call('pack', time.time() + 1, True)
    assert seen == [(1, min(os.getpriority(os.PRIO_PROCESS, 0) + NICER, 19))]


@pytest.mark.parametrize('wait', [True, False])
@pytest.mark.parametrize('stays', [True, False])
def test_a_second_pack_leaves_the_first_as_it_is(serving, raw, tmp_path, wait, stays):
    """It is refused, and commits go on beside the first; also when the client that began it is
    gone.
    """
    inside, go_on, packs = threading.Event(), threading.Event(), []
    storage = Packable(str(tmp_path / 'data.fs'))

    def packing():
        packs.append(1)
        if len(packs) > 1:
            raise FileStorageError('Already packing')
        inside.set()
        go_on.wait(20)

    storage.packing = packing
    server = serving(storage)
    packer, other = raw(server), raw(server)
    tids = _three_revisions(other)
    first = packer.ask('pack', time.time() + 1, True)
    assert inside.wait(20)
    if not stays:
        packer.close()
    for _ in range(3):
        if wait:
            with pytest.raises(LookupError, match='Already packing'):
                other.call('pack', time.time() + 1, True)
        else:
            other.call('pack', time.time() + 1, False)
    status = other.call('server_status')
    assert status['packing'] and status['pack-start'] and server.hosted['1'].backend.is_packing
    tid = other.commit(4, (oid(1), tids[-1], b'4'))
    assert other.call('server_status')['packing']
    go_on.set()
    if stays:
        assert packer.answer(first) is None
    while other.call('server_status')['packing']:
        time.sleep(0.01)
    other.commit(5, (oid(1), tid, b'5'))


def test_a_pack_begins_when_an_undo_that_is_under_way_has_ended(serving, raw, tmp_path):
    """Its record points to an old one, which the pack must not remove; FileStorage looks for such
    records when a pack begins, and fails in the end if it has missed one.
    """
    server = serving(FileStorage(str(tmp_path / 'data.fs')))
    packer, other = raw(server), raw(server)
    root = b'(K\x01t.N.'
    first = other.commit(1, (z64, z64, root))
    second = other.commit(2, (z64, first, b'(K\x02t.N.' + b'more than a pointer'))
    other.tell('tpc_begin', 3, b'', b'', b'', None, ' ')
    other.tell('undoa', binascii.b2a_base64(second)[:-1], 3)
    other.call('vote', 3)
    packing = packer.ask('pack', time.time() + 1, True)
    other.call('ping')
    assert not other.call('server_status')['packing']
    with pytest.raises(LookupError, match='another pack is about to begin'):
        other.call('pack', time.time() + 1, True)
    undone = other.call('tpc_finish', 3)
    assert packer.answer(packing) is None
    assert other.call('loadBefore', z64, maxtid) == (root, undone, None)
    assert not other.call('server_status')['packing']


def test_nothing_is_undone_while_a_pack_runs(serving, raw, tmp_path):
    inside, go_on = threading.Event(), threading.Event()
    storage = Packable(str(tmp_path / 'data.fs'))
    storage.packing = lambda: (inside.set(), go_on.wait(20))
    server = serving(storage)
    packer, other = raw(server), raw(server)
    *_, last = _three_revisions(other)
    packing = Running(packer.call, 'pack', time.time() - 1, True)
    assert inside.wait(20)
    other.tell('tpc_begin', 4, b'', b'', b'', None, ' ')
    other.tell('undoa', binascii.b2a_base64(last)[:-1], 4)
    with pytest.raises(LookupError, match='being packed: undo again when the pack has ended'):
        other.call('vote', 4)
    go_on.set()
    packing.result()
    other.tell('tpc_begin', 5, b'', b'', b'', None, ' ')
    other.tell('undoa', binascii.b2a_base64(last)[:-1], 5)
    other.call('vote', 5)
    assert other.call('tpc_finish', 5) > last
