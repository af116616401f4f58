"""SIGKILL, at random moments, to client processes that work with a server while others commit: no
record in a cache is wrong.
"""

import os
import random
import shutil
import threading

import pytest
from ZODB.utils import maxtid, z64

from support import killable
from support.inside import cache_of

#: Bytes of the cache file: less than all current records, so that they leave all the time.
SIZE = 48 * 1024


class History:
    """What the server has: every revision of every object."""

    def __init__(self, client):
        self._client = client
        self.last = z64
        self.revisions = {}  # oid -> {tid: data}, the oldest first

    def update(self):
        """Ask the server what is new."""
        for transaction in self._client.iterator(self.last):
            for record in transaction:
                self.revisions.setdefault(record.oid, {})[record.tid] = record.data
            self.last = transaction.tid

    def end_of(self, oid, tid):
        """Return the tid of the next revision, or None."""
        return min((later for later in self.revisions[oid] if later > tid), default=None)


class Committer:
    """Another client, which commits in a thread except while it is paused: ``with
    committer.pause:``.
    """

    def __init__(self, client):
        self.pause = threading.Lock()
        self._client = client
        self._ended = threading.Event()
        self.failure = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        chooser = random.Random(0)
        try:
            while not self._ended.wait(0.002):
                with self.pause:
                    killable.commit(
                        self._client, chooser, chooser.sample(killable.OIDS, chooser.randint(1, 3))
                    )
        except BaseException as failure:  # told by end()
            self.failure = failure

    def end(self):
        """Stop."""
        self._ended.set()
        self._thread.join(30)
        assert self.failure is None, self.failure


class Scene:
    """A server with some objects, another client that commits, and a client that is killed again
    and again.
    """

    def __init__(self, address, wire, clients, killer, var, seed):
        self.random = random.Random(seed)
        self._wire, self._clients, self._killer, self._var = wire, clients, killer, var
        client = clients(address)
        killable.commit(client, self.random, killable.OIDS, new=True)
        self._history = History(clients(address, cache_size=0))
        self.committer = Committer(client)
        self.opened = self.held = self.kept = 0

    def kill_and_check(self):
        """One kill, and all that is in the cache afterwards, before there is a server and after the
        cache check.
        """
        opened = self.random.random() < 0.7
        self.opened += self._killer.call(
            'run',
            address=self._wire.address,
            client='x',
            var=self._var,
            cache_size=SIZE,
            seed=self.random.randrange(10**9),
            seconds=self.random.random() * 0.08,
            opened=opened,
        )
        self._wire.cut()
        name = 'x'
        # else it was killed before it had made the file
        left = os.path.exists(f'{self._var}/x-1.zec')
        if left and self.random.random() < 0.5:
            # the next client is to find what the killed one has left
            name = 'copy'
            shutil.copy(f'{self._var}/x-1.zec', f'{self._var}/copy-1.zec')
        client = self._clients(
            self._wire.address, client=name, var=self._var, cache_size=SIZE, wait=False
        )
        try:
            with self.committer.pause:
                self._history.update()
                assert self._wrong_alone(cache_of(client)) == []
                self.held += len(cache_of(client)) > 20
                self._wire.mend()
                self._catch_up(client)
                assert self._wrong(cache_of(client)) == []
                self.kept += len(cache_of(client)) > 20
        finally:
            client.close()

    def _catch_up(self, client):
        """Return when the client knows all; what the killed one has sent last may be committed
        yet.
        """
        while True:
            client.ping()
            self._history.update()
            if client.lastTransaction() == self._history.last == cache_of(client).getLastTid():
                return

    def _wrong_alone(self, cache):
        """Return what is not true as of the cache's last transaction."""
        last, wrong = cache.getLastTid() or z64, []
        for oid, tid, end in cache.contents():
            true_end = (
                self._history.end_of(oid, tid) if tid in self._history.revisions[oid] else 'never'
            )
            # An end that it could not know of yet may be missing; one that it tells has to be true.
            if true_end != end and (end is not None or true_end == 'never' or true_end <= last):
                wrong.append((oid, tid, end, true_end, last))
        return wrong + self._wrong_data(cache)

    def _wrong(self, cache):
        """Return what is not as the server has it."""
        wrong = [
            (oid, tid, end)
            for oid, tid, end in cache.contents()
            if tid not in self._history.revisions[oid] or self._history.end_of(oid, tid) != end
        ]
        return wrong + self._wrong_data(cache)

    def _wrong_data(self, cache):
        """Return what is answered otherwise than the contents and the server's records say."""
        contents = list(cache.contents())
        answers = [cache.loadBefore(oid, end or maxtid) for oid, _, end in contents]
        assert None not in answers
        return [
            (oid, tid, end)
            for (oid, tid, end), answer in zip(contents, answers, strict=True)
            if answer != (self._history.revisions[oid].get(tid), tid, end)
        ]


def _kill(kills, seed, serve, wire, clients, processes, var):
    address = serve(invalidation_queue_size=100_000)
    scene = Scene(address, wire(address), clients, processes('support.killable'), var, seed)
    try:
        for _ in range(kills):
            scene.kill_and_check()
    finally:
        scene.committer.end()
    assert scene.opened > kills / 2
    # and it is not because everything was thrown away
    assert min(scene.held, scene.kept) >= kills / 25


def test_a_killed_client_leaves_no_wrong_record(serve, wire, clients, processes, var, seed):
    """Some kills, as often as the tests run."""
    _kill(25, seed, serve, wire, clients, processes, var)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_hundred_killed_clients_leave_no_wrong_record(serve, wire, clients, processes, var):
    """The same until the file has been through everything."""
    _kill(200, 4, serve, wire, clients, processes, var)
