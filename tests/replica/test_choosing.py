"""A replica that has several addresses follows the primary, whatever else is at the others."""

import os

import pytest

from support.processes import wait_until
from support.replicas import LONG, wait_for, wait_for_state
from ZEO.commands.zeo_promote import main as promote
from ZEO.net.addresses import show
from ZEO.net.system import System
from ZEO.replica.primary import Primary


def committed(site, addr, **values):
    """Commit values of the root at a server; return the tid."""
    db = site.db(addr)
    with db.transaction() as connection:
        connection.root().update(values)
    tid = db.storage.lastTransaction()
    db.close()
    return tid


def follower(site, name, addresses, **options):
    """Return a replica that is served at a Unix socket of its own."""
    replica = site.replica(addresses, name, **options)
    replica.server = site.serve(replica, site.path(f'{name}.sock'))
    return replica


def labels(server):
    """Return the names of the files of all that follow a server."""
    followers = server.hosted['1'].followers.values()
    return {os.path.basename(one.label.partition(':')[2]) for one in followers}


@pytest.mark.parametrize('own_first', [False, True])
def test_those_with_the_addresses_of_all_servers_follow_the_primary_and_then_the_next_one(
    site, own_first, capsys
):
    primary = site.primary()
    own = [site.path(f'{name}.sock') for name in 'bcd']
    everywhere = [*own, primary.addr] if own_first else [primary.addr, *own]
    b, c, d = (follower(site, name, everywhere) for name in 'bcd')
    tid = committed(site, primary.addr, a=1)
    for replica in b, c, d:
        wait_for(replica, tid)
    wait_until(lambda: labels(primary) == {'b.fs', 'c.fs', 'd.fs'})
    for replica in b, c, d:
        wait_for_state(replica, 'following')
    assert promote(own) == 1
    assert f'its primary {show(primary.addr)} is there' in capsys.readouterr().err
    primary.end()
    for replica in b, c, d:
        error = wait_for_state(replica, 'disconnected')['error']
        assert error is not None
    assert promote([own[2]]) == 0  # it does not take another follower for a primary
    tid = committed(site, own[2], a=2)
    for replica in b, c:
        wait_for(replica, tid)
    wait_until(lambda: labels(d.server) == {'b.fs', 'c.fs'})


def test_the_log_says_what_to_do_when_there_are_only_followers(site):
    primary = site.primary()
    both = [primary.addr, site.path('b.sock'), site.path('c.sock')]
    b, _ = follower(site, 'b', both), follower(site, 'c', both)
    assert b.wait_until_following(LONG)
    primary.end()
    wait_until(lambda: 'promote a follower' in (b.replica_status()['error'] or ''))


def test_a_server_is_not_the_primary_of_itself(site):
    replica = follower(site, 'b', site.path('b.sock'))
    status = wait_for_state(replica, 'refused')
    assert 'is this replica itself' in status['error'] and 'another server' in status['error']


def test_two_do_not_follow_one_another(site):
    first = follower(site, 'b', site.path('c.sock'))
    second = follower(site, 'c', site.path('b.sock'))
    wait_until(lambda: 'refused' in {one.replica_status()['state'] for one in (first, second)})


def test_a_follower_that_is_followed_does_not_follow_its_follower(site):
    primary = site.primary()
    missing = site.path('missing.sock')
    b = follower(site, 'b', [primary.addr, site.path('c.sock')])
    assert b.wait_until_following(LONG)
    c = follower(site, 'c', [missing, site.path('b.sock')])
    wait_until(lambda: labels(b.server) == {'c.fs'})
    primary.end()
    for replica in b, c:
        wait_for_state(replica, 'disconnected')
    wait_until(lambda: not b.server.hosted['1'].followers)
    assert not c.server.hosted['1'].followers
    assert promote([site.path('b.sock'), site.path('c.sock')]) == 0
    tid = committed(site, site.path('b.sock'), a=2)
    wait_for(c, tid)


def test_the_primary_is_followed_in_place_of_a_follower_once_it_can_be_reached(site):
    primary = site.primary(addr=site.path('a.sock'))
    other_way = site.path('other-way.sock')
    b = follower(site, 'b', site.path('a.sock'))
    assert b.wait_until_following(LONG)
    tid = committed(site, site.path('a.sock'), a=1)
    c = follower(site, 'c', [other_way, site.path('b.sock')])
    wait_for(c, tid)
    wait_until(lambda: labels(b.server) == {'c.fs'})
    os.symlink('a.sock', other_way)
    wait_until(lambda: labels(primary) == {'b.fs', 'c.fs'} and not labels(b.server))
    wait_for(c, committed(site, site.path('a.sock'), a=2))


@pytest.mark.parametrize('discard_lost', [False, True])
def test_an_old_primary_that_comes_back_is_passed_over(site, discard_lost):
    primary = site.primary()
    old = primary.addr
    new = site.path('b.sock')
    b = follower(site, 'b', [old])
    c = site.replica([new, old], 'c', discard_lost=discard_lost)
    wait_for(c, committed(site, old, a=1))
    primary.end()
    wait_until(lambda: promote([new]) == 0)
    kept = committed(site, new, a=2)
    wait_for(c, kept)
    c.close()
    again = site.primary()
    committed(site, again.addr, lost=1)
    c = site.replica([again.addr, new], 'c', discard_lost=discard_lost)
    wait_until(lambda: labels(b.server) == {'c.fs'})
    assert c.lastTransaction() == kept
    wait_for(c, committed(site, new, a=3))
    assert site.same_files('b', 'c') and not c.lost_transactions


def test_nothing_is_given_up_for_a_follower_that_is_behind(site):
    primary = site.primary()
    c = site.replica(primary.addr, 'c')
    behind = follower(site, 'b', primary.addr)
    assert behind.wait_until_following(LONG)
    behind._following.stop()  # and says meanwhile that it follows
    tid = committed(site, primary.addr, a=1)
    wait_for(c, tid)
    c.close()
    c = site.replica([site.path('missing.sock'), site.path('b.sock')], 'c', discard_lost=True)
    wait_until(lambda: 'all that this one has' in (c.replica_status()['error'] or ''))
    assert c.lastTransaction() == tid
    behind._following.start()
    wait_until(lambda: labels(behind.server) == {'c.fs'})


def test_connections_to_primaries_have_the_clock_and_threads_of_the_replica():
    spawned = []

    class Watched(System):
        def spawn(self, name, target, *args):
            spawned.append(name)
            return super().spawn(name, target, *args)

    Primary(('127.0.0.1', 1), {'storage': '1'}, Watched()).close()
    assert spawned[0] == 'ZEO connector'  # and those that it starts before it is closed
