"""A commit is answered once followers have it on disk, and no client sees it before."""

import shutil
import tempfile

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, z64

from server.conftest import Service
from support.processes import wait_until
from support.scripted import PATIENCE, Ended, RawClient

OID, OTHER = p64(1), p64(2)


@pytest.fixture
def serve(tmp_path):
    """A function that starts a server which waits for one follower, or as options say."""
    services, folder = [], tempfile.mkdtemp(prefix='zeo-', dir='/tmp')

    def start(**options):
        options = {'wait_for_replicas': 1, 'replica_timeout': PATIENCE, **options}
        storage = FileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'blobs'))
        services.append(Service(folder, storage, options))
        return services[-1]

    yield start
    for service in services:
        service.close()
    shutil.rmtree(folder)


class Follower(RawClient):
    """A follower that acknowledges what the test says."""

    def __init__(self, service):
        super().__init__(service.server.addr)
        self.has = self.call('follow', 'a follower')

    def noticed(self):
        """Return the transaction that it may fetch next."""
        while True:
            for place, (name, args) in enumerate(self.told):
                if name == 'invalidateTransaction':
                    del self.told[: place + 1]
                    return args[0]
            _, _, name, args = self.next()
            self.told.append((name, args))

    def acknowledge(self, tid):
        self.tell('replicated', tid)
        self.call('ping')


def voted(client, number, *stores):
    client.begin(number, *stores)
    client.call('vote', number)


def finishing(client, number, *stores):
    """Return the number of a tpc_finish that was asked for."""
    voted(client, number, *stores)
    return client.ask('tpc_finish', number)


def test_a_commit_is_answered_when_the_follower_has_it(serve):
    service = serve()
    follower, client, reader = Follower(service), service.client(), service.client()
    before = reader.call('lastTransaction')
    finish = finishing(client, 1, (OID, z64, b'new'))
    tid = follower.noticed()
    assert tid > before == reader.call('lastTransaction')
    assert reader.call('loadBefore', OID, maxtid) is None
    assert not any(name == 'invalidateTransaction' for name, _ in reader.told)
    follower.acknowledge(tid)
    assert client.answer(finish) == tid == reader.call('lastTransaction')
    assert ('invalidateTransaction', (tid, [OID])) in reader.told
    assert reader.call('loadBefore', OID, maxtid)[:2] == (b'new', tid)


def test_no_call_shows_what_the_follower_does_not_have(serve):
    service = serve()
    follower, client, reader = Follower(service), service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'old'))
    follower.acknowledge(old := follower.noticed())
    client.answer(finish)
    finish = finishing(client, 2, (OID, old, b'new'), (OTHER, z64, b'other'))
    new = follower.noticed()
    assert reader.call('loadBefore', OID, maxtid) == (b'old', old, None)
    assert reader.call('load_many', [OID, OTHER], maxtid) == [(b'old', old, None), None]
    assert reader.call('getTid', OID) == old
    assert [entry['tid'] for entry in reader.call('history', OID, 5)] == [old]
    assert len(reader.call('undoLog', 0, 5)) == len(reader.call('undoInfo', 0, -5)) == 1
    assert reader.call('record_iternext', None)[:3] == (OID, old, b'old')
    assert service.client().last == old == reader.call('lastTransaction')
    assert reader.call('getInvalidations', old) == (old, [])
    number = reader.call('iterator_start', None, None)
    transactions, ended = reader.call('iterator_batch', number)
    assert [transaction[0][0] for transaction in transactions] == [old] and ended
    # but the follower gets it
    number = follower.call('iterator_start', new, None)
    ((transaction, records, _),), _ = follower.call('iterator_batch', number)
    assert transaction[0] == new and [record[2] for record in records] == [b'new', b'other']
    assert follower.call('lastTransaction') == new
    follower.acknowledge(new)
    client.answer(finish)
    assert reader.call('loadBefore', OID, maxtid) == (b'new', new, None)
    assert reader.call('loadBefore', OID, new) == (b'old', old, new)


def test_several_commits_share_an_acknowledgement_and_are_answered_in_their_order(serve):
    service = serve()
    follower, client, reader = Follower(service), service.client(), service.client()
    finishes = [finishing(client, n, (p64(n), z64, b'data')) for n in range(1, 6)]
    tids = [follower.noticed() for _ in finishes]
    follower.acknowledge(tids[-1])
    assert [client.answer(finish) for finish in finishes] == tids == sorted(tids)
    reader.call('ping')
    assert [args[0] for name, args in reader.told if name == 'invalidateTransaction'] == tids


def test_the_commit_lock_is_not_held_meanwhile(serve):
    service = serve()
    follower, client, other = Follower(service), service.client(), service.client()
    first = finishing(client, 1, (OID, z64, b'1'))
    second = finishing(other, 1, (OTHER, z64, b'2'))
    follower.noticed()
    follower.noticed()
    assert service.hosted.lock.holder is None
    follower.acknowledge(follower.call('lastTransaction'))
    assert client.answer(first) < other.answer(second)


def test_a_conflict_with_what_may_not_be_seen_is_told_when_it_may(serve):
    service = serve()
    follower, client, other = Follower(service), service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'1'))
    tid = follower.noticed()
    other.begin(1, (OID, z64, b'2'))
    vote = other.ask('vote', 1)
    other.call('ping')
    follower.acknowledge(tid)
    with pytest.raises(LookupError, match='ConflictError'):
        other.answer(vote)
    assert ('invalidateTransaction', (tid, [OID])) in other.told
    client.answer(finish)


def test_two_are_waited_for_where_two_are_needed(serve):
    service = serve(wait_for_replicas=2)
    one, two, client = Follower(service), Follower(service), service.client()
    finish = finishing(client, 1, (OID, z64, b'1'))
    tid = one.noticed()
    one.acknowledge(tid)
    assert client.call('lastTransaction') < tid
    two.acknowledge(tid)
    assert client.answer(finish) == tid


def test_a_follower_that_is_gone_does_not_count_any_more(serve):
    service = serve()
    gone, client = Follower(service), service.client()
    gone.close()
    wait_until(lambda: not service.hosted.followers)
    finish = finishing(client, 1, (OID, z64, b'1'))
    follower = Follower(service)
    assert client.call('lastTransaction') < follower.has
    follower.acknowledge(follower.has)
    assert client.answer(finish) == follower.has


def test_one_that_says_that_it_has_what_there_is_not_is_closed(serve):
    service = serve()
    liar, client = Follower(service), service.client()
    liar.tell('replicated', maxtid)
    with pytest.raises(Ended):
        liar.call('ping')
    finish = finishing(client, 1, (OID, z64, b'1'))
    Follower(service).acknowledge(service.storage.lastTransaction())
    client.answer(finish)


def test_after_the_time_out_commits_go_on_without_followers(serve, caplog):
    service = serve(replica_timeout=0.2)
    client = service.client()
    first = client.commit(1, (OID, z64, b'1'))
    assert 'can be LOST' in caplog.text
    assert service.hosted.status()['replicas']['missing-for'] is not None
    assert client.commit(2, (OTHER, z64, b'2')) > first
    follower = Follower(service)
    follower.acknowledge(follower.has)
    assert 'has its followers again' in caplog.text
    finish = finishing(client, 3, (OID, first, b'3'))
    tid = follower.noticed()
    follower.acknowledge(tid)
    assert client.answer(finish) == tid


def test_or_they_are_refused_and_the_outcome_is_not_known(serve):
    service = serve(replica_timeout=0.2, replica_timeout_action='refuse')
    client, reader = service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'1'))
    with pytest.raises(LookupError, match='ClientDisconnected.*it is not known whether'):
        client.answer(finish)
    assert reader.call('loadBefore', OID, maxtid) is None
    client.begin(2, (OTHER, z64, b'2'))
    with pytest.raises(LookupError, match='TransientError.*0 of the 1 followers'):
        client.call('vote', 2)
    follower = Follower(service)
    follower.acknowledge(follower.has)
    # it is there all the same, and its own client learns of it as all others do
    client.call('ping'), reader.call('ping')
    for one in (client, reader):
        assert ('invalidateTransaction', (follower.has, [OID])) in one.told
        assert one.call('loadBefore', OID, maxtid) == (b'1', follower.has, None)
    finish = finishing(client, 3, (OTHER, z64, b'2'))
    follower.acknowledge(follower.noticed())
    client.answer(finish)


def test_a_client_that_goes_away_while_it_waits_leaves_nothing(serve):
    service = serve()
    follower, client, reader = Follower(service), service.client(), service.client()
    finishing(client, 1, (OID, z64, b'1'))
    tid = follower.noticed()
    client.close()
    wait_until(lambda: len(service.hosted.peers) == 3)
    follower.acknowledge(tid)
    assert reader.call('loadBefore', OID, maxtid) == (b'1', tid, None)
    assert service.hosted.stats.active_txns == 0


def test_a_thousand_commits_wait(serve):
    service = serve()
    follower = Follower(service)
    clients = [service.client() for _ in range(10)]
    asked = [
        (client, finishing(client, n, (p64(100 * place + n), z64, b'data')))
        for place, client in enumerate(clients)
        for n in range(100)
    ]
    wait_until(lambda: service.hosted.status()['replicas']['waiting'] == 1000)
    follower.acknowledge(service.storage.lastTransaction())
    tids = [client.answer(number) for client, number in asked]
    assert tids == sorted(tids)
    assert service.hosted.status()['replicas']['waiting'] == 0


def test_a_pack_leaves_what_clients_still_see(serve):
    service = serve()
    follower, client, reader = Follower(service), service.client(), service.client()
    finish = finishing(client, 1, (z64, z64, b'(cpersistent.mapping\nPersistentMapping\nq\x01.}.'))
    follower.acknowledge(old := follower.noticed())
    client.answer(finish)
    finishing(client, 2, (z64, old, b'(cpersistent.mapping\nPersistentMapping\nq\x01.}q\x02.'))
    new = follower.noticed()
    reader.call('pack', 2e9, True)
    assert reader.call('loadBefore', z64, maxtid)[1:] == (old, None)
    follower.acknowledge(new)


def test_the_service_stops_while_commits_wait(serve):
    service = serve()
    client = service.client()
    finish = finishing(client, 1, (OID, z64, b'1'))
    wait_until(lambda: service.hosted.status()['replicas']['waiting'] == 1)
    service.server.close()
    with pytest.raises((Ended, ConnectionError)):
        client.answer(finish)
    assert FileStorage(service.storage.getName(), read_only=True).loadBefore(OID, maxtid)
