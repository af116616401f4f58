"""A follower takes the primary's place: its clients write to it, and nothing is lost."""

import os
import shutil
import tempfile
import threading

import pytest
from ZODB.POSException import ReadOnlyError
from ZODB.utils import z64

import ZEO
from support.processes import wait_until
from support.replicas import LONG, wait_for, wait_for_state
from ZEO.commands.probing import ask
from ZEO.commands.zeo_promote import main as promote
from ZEO.commands.zeo_status import main as show_status
from ZEO.Exceptions import ClientDisconnected
from ZEO.net.addresses import show
from ZEO.replica.primary import Primary
from ZEO.StorageServer import Access


def committed(db, **values):
    """Commit values of the root; return the tid."""
    with db.transaction() as connection:
        connection.root().update(values)
    return db.storage.lastTransaction()


@pytest.fixture
def pair(site):
    """A primary whose commits wait for its follower, and the server of that."""
    primary = site.primary(wait_for_replicas=1, replica_timeout=LONG)
    replica = site.replica(primary.addr)
    follower = site.serve(replica, wait_for_replicas=1, replica_timeout=LONG)
    assert replica.wait_until_following(LONG)
    wait_until(lambda: primary.hosted['1'].followers)
    return primary, follower, replica


def test_a_commit_is_answered_when_the_follower_has_it(site, pair):
    primary, follower, replica = pair
    db = site.db(primary.addr)
    for number in range(10):
        tid = committed(db, key=number)
        wait_for(replica, tid)
    (entry,) = primary.hosted['1'].status()['followers']
    assert entry['counts'] and entry['replicated'] == tid.hex() and entry['lag-transactions'] == 0


def test_a_first_copy_that_has_not_ended_is_neither_used_nor_promoted(site, monkeypatch, capsys):
    primary = site.primary()
    db = site.db(primary.addr)
    for number in range(5):
        committed(db, key=number)
    parts, arriving = Primary.parts, iter(range(3))

    def cut(self, start):
        for part in parts(self, start):
            if part is not None and next(arriving, None) is None:
                raise ClientDisconnected('the link is cut')
            yield part

    monkeypatch.setattr(Primary, 'parts', cut)
    monkeypatch.setattr('ZEO.replica.following._GROUP_TRANSACTIONS', 1)
    replica = site.replica(primary.addr)
    follower = site.serve(replica)
    wait_until(lambda: replica.lastTransaction() > z64)
    wait_for_state(replica, 'disconnected')
    assert not replica.replica_status()['whole']
    db.close()
    primary.end()
    assert promote([show(follower.addr)]) == 1
    assert 'has not copied everything' in capsys.readouterr().err
    with pytest.raises(ClientDisconnected):
        ZEO.client([follower.addr], prefer='replica', wait_timeout=1)
    with open(site.path('replica.fs.replica')) as file:
        assert '"whole": false' in file.read()


def test_clients_go_on_at_the_follower_that_is_promoted(site, pair, capsys):
    primary, follower, _ = pair
    db = site.db([primary.addr, follower.addr])
    first = committed(db, a=1)
    fallback = site.db(follower.addr, read_only_fallback=True)
    wait_until(lambda: fallback.storage.lastTransaction() == first)
    assert fallback.storage.isReadOnly()
    assert promote([show(follower.addr)]) == 1
    assert 'its primary' in capsys.readouterr().err
    primary.end()
    wait_until(lambda: promote([show(follower.addr)]) == 0)
    # its commits wait for a follower of its own
    second = site.replica(follower.addr, 'second')
    assert second.wait_until_following(LONG)
    tid = committed(db, b=2)
    assert tid > first
    wait_until(lambda: not fallback.storage.isReadOnly())
    assert committed(fallback, c=3) > tid
    wait_until(lambda: db.storage.lastTransaction() == fallback.storage.lastTransaction())
    with db.transaction() as connection:
        assert dict(connection.root()) == {'a': 1, 'b': 2, 'c': 3}
    status = ask(follower.addr, '1')
    assert status['replica']['state'] == 'promoted' and status['replicas']['needed'] == 1


def test_a_follower_that_comes_again_is_waited_for_and_gets_what_was_hidden(site):
    primary = site.primary(wait_for_replicas=1, replica_timeout=LONG)
    replica = site.replica(primary.addr)
    db = site.db(primary.addr)
    tid = committed(db, a=1)
    replica.close()
    wait_until(lambda: not primary.hosted['1'].followers)
    committing = threading.Thread(target=committed, args=(db,), kwargs={'a': 2}, daemon=True)
    committing.start()
    waiting = primary.hosted['1'].status
    wait_until(lambda: waiting()['replicas']['waiting'] == 1)
    assert primary.hosted['1'].last_transaction() == tid
    again = site.replica(primary.addr)
    committing.join(LONG)
    assert not committing.is_alive()
    wait_for(again, db.storage.lastTransaction())
    assert site.same_files()


def test_an_old_primary_that_has_more_is_refused_until_that_may_be_given_up(site):
    primary = site.primary(wait_for_replicas=1, replica_timeout=0.1, replica_timeout_action='warn')
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    db = site.db(primary.addr)
    common = committed(db, a=1)
    wait_for(replica, common)
    replica.promote()
    lost = committed(db, lost=1)
    primary.end()
    new = site.serve(replica)
    kept = committed(site.db(new.addr), b=2)
    old = site.replica(new.addr, 'primary')
    status = wait_for_state(old, 'refused')
    assert lost.hex() in status['error']
    old.close()
    old = site.replica(new.addr, 'primary', discard_lost=True)
    wait_for(old, kept)
    assert site.same_files()


def test_a_follower_takes_no_writes_before(site, pair):
    _, follower, _ = pair
    with pytest.raises((ReadOnlyError, ZEO.Exceptions.ClientDisconnected)):
        ZEO.client(follower.addr, wait_timeout=0.3).close()


def test_the_status_command_says_what_followers_have(site, pair, capsys):
    primary, follower, _ = pair
    committed(site.db(primary.addr), a=1)
    assert show_status([show(primary.addr)]) == 0
    printed = capsys.readouterr().out
    assert ', has everything\n' in printed and 'needed: 1, waiting: 0' in printed
    assert show_status([show(follower.addr)]) == 0
    assert 'state: following' in capsys.readouterr().out


def test_a_primary_that_stops_lets_its_follower_have_everything(site):
    primary = site.primary()
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    db = site.db(primary.addr)
    for number in range(50):
        tid = committed(db, key=number)
    primary.post(lambda: primary.drain(LONG))
    wait_for(replica, tid)
    wait_until(lambda: not primary.hosted['1'].peers)


def test_only_who_may_write_can_make_others_believe_that_commits_are_safe(site):
    me = f'unix-user {os.getuid()}'
    socket = f'{tempfile.mkdtemp(prefix="zeo-", dir="/tmp")}/s'
    primary = site.serve(site.file('other'), socket, access=Access.of({'1': [f'{me} read']}))
    replica = site.replica(socket)
    assert replica.wait_until_following(LONG)
    (entry,) = primary.hosted['1'].status()['followers']
    assert not entry['counts']
    assert promote([socket]) == 1
    shutil.rmtree(os.path.dirname(socket))
