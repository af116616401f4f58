"""Mistakes that are put into the code on purpose: the simulator has to find each.

Enters: nothing. Leaves: the list of them. Fails: never.
"""

from __future__ import annotations

from support.simulation import mutations_of_blobs, mutations_of_doors, mutations_of_followers
from support.simulation.mutation import Mutation

MUTATIONS = [
    Mutation(
        'late-invalidation',
        'invalidations are sent to the others some time after the commit was answered',
        'serving.hosted',
        "        self.peers.send(committer, 'invalidateTransaction', tid, oids)\n",
        '        self.loop.later(0.01, lambda: self.peers.send(\n'
        "            committer, 'invalidateTransaction', tid, oids))\n",
    ),
    Mutation(
        'invalidation-lost',
        'the first client of a storage is left out when an invalidation is sent',
        'serving.clients',
        'for protocol, channel in self._found.values():\n                channels',
        'for protocol, channel in list(self._found.values())[1:]:\n                channels',
    ),
    Mutation(
        'cache-not-invalidated',
        'an invalidation reaches the database and not the cache',
        'link.state',
        '            self._invalidate_all(transactions)\n'
        '        else:\n'
        '            for tid, oids in transactions:\n'
        '                for oid in oids:\n'
        '                    self._end(oid, tid)\n',
        '            pass\n',
    ),
    Mutation(
        'ends-with-a-poll',
        'what may have changed before a poll has found it ends in caches with the poll',
        'link.state',
        'end_early(oid, min(tid, self.covered), tid)',
        'end_early(oid, tid, tid)',
    ),
    Mutation(
        'tid-not-advanced',
        'the last tid stays where it was at the first connection',
        'link.state',
        '        self.last_tid = tid\n',
        '        self.last_tid = self.last_tid or tid\n',
    ),
    Mutation(
        'read-ahead-behind-an-invalidation',
        'an invalidation does not reach the records that were sent ahead and wait',
        'link.state',
        '                ahead.forget(oids)  # first, see there\n',
        '                pass\n',
    ),
    Mutation(
        'read-ahead-of-the-past',
        'a record that is sent ahead is read some time before it is sent',
        'serving.read_ahead.ahead',
        '        self._channel.send(frame(self._codec.send(',
        '        later = self._channel.send if not records else lambda data: (\n'
        '            self._loop.later(0.01, lambda: self._channel.send(data)))\n'
        '        later(frame(self._codec.send(',
    ),
    Mutation(
        'read-ahead-of-an-old-snapshot',
        'a record that a database was asked for ahead is kept though it has changed meanwhile',
        'serving.backends.guesses',
        '        if not view.is_behind(oid, snapshot):\n',
        '        if snapshot:\n',
    ),
    Mutation(
        'read-ahead-of-an-old-cache',
        'a second server sends ahead what was in its cache some time before',
        'serving.backends.cached',
        '        found = self._storage.cached(oid)\n',
        "        seen = vars(self).setdefault('seen', {})\n"
        '        found = seen[oid] = seen.get(oid) or self._storage.cached(oid)\n',
    ),
    Mutation(
        'queue-off-by-one',
        'the answer to getInvalidations leaves the newest transaction out',
        'serving.invalidations',
        'if changed_at > tid:',
        'if tid < changed_at < last:',
    ),
    Mutation(
        'queue-too-short',
        'getInvalidations answers for transactions that are not remembered any more',
        'serving.invalidations',
        '        if self._known_after is None or tid < self._known_after:\n'
        '            return None\n'
        '        if tid != self._known_after and all('
        'changed_at != tid for changed_at, _ in self._recent):\n'
        '            # not a transaction of this storage (a backup was restored?), '
        'and there may be more of\n'
        '            # those\n'
        '            return None\n',
        '',
    ),
    Mutation(
        'lock-kept-at-disconnect',
        'the commit lock stays with a client that has gone',
        'serving.calls.transactions',
        '            self._loop.attempt(partial(_abort, commit))\n',
        '            pass\n',
    ),
    Mutation(
        'lock-kept-at-timeout',
        'the commit lock stays with a transaction that took too long',
        'serving.commit.state',
        '            lock.release(self, self.peer)\n',
        "            if 'transaction-timeout' not in str(self.error):\n"
        '                lock.release(self, self.peer)\n',
    ),
    Mutation(
        'lock-for-the-gone',
        'a client that has gone stays in the queue for the commit lock',
        'serving.commit.lock',
        '            self._waiting.remove(who if client is None else client, '
        'lambda entry: entry[0] is who)\n',
        '            pass\n',
    ),
    Mutation(
        'serials-not-checked',
        'a vote does not look whether an object has changed',
        'serving.commit.operations',
        "            storage.store(oid, self.serial, self.data, '', commit.transaction)\n",
        "            serial = self.serial.strip(b'\\0') and storage.getTid(oid) or self.serial\n"
        "            storage.store(oid, serial, self.data, '', commit.transaction)\n",
    ),
    Mutation(
        'merge-not-stored',
        'a client that has resolved a conflict stores its first record again',
        'link.commits',
        'send_store(oid, committed, merged, buffer.txn_id)',
        'send_store(oid, committed, data, buffer.txn_id)',
    ),
    Mutation(
        'resolved-record-kept',
        'the committer keeps its own record in the cache where the server has resolved a conflict',
        'link.commits',
        '                    buffer.resolved(oid)\n',
        '                    pass\n',
    ),
    Mutation(
        'held-out-of-order',
        'invalidations that came during a cache check are applied in the wrong order',
        'link.state',
        'in held.take() if held is not None else ():',
        'in reversed(held.take() if held is not None else []):',
        'tests/link/test_reader.py',
    ),
    Mutation(
        'not-held',
        'invalidations that come during a cache check are applied at once',
        'link.state',
        '        self._held = HeldMessages()\n',
        '        self._held = None\n',
    ),
    Mutation(
        'loaded-too-late',
        'a record goes into the cache when its caller wakes, though it may have changed meanwhile',
        'ClientStorage',
        'return self._server.load_before(oid, tid, state)',
        "return state.loaded(oid, self._server.call('loadBefore', oid, tid))",
    ),
    Mutation(
        'current-too-long',
        'a revision in the memory cache stays current when it has ended',
        'cache.memory_cache',
        '  # first, for those who read\n                self._drop_current(oid)\n',
        '\n',
    ),
    Mutation(
        'late-among-clients',
        'a client is registered before it is among those that are sent invalidations',
        'serving.peer',
        '        hosted.peers.join(self, self.codec.name, channel)\n',
        '        service.loop.later(\n'
        '            0.01, lambda: hosted.peers.join(self, self.codec.name, channel))\n',
    ),
    Mutation(
        'recent-records-kept',
        'the records that a server keeps in memory stay when they have changed',
        'serving.backends.recent',
        '            gone = self._young.pop(oid, None)\n',
        '            gone = None\n',
    ),
    Mutation(
        'newest-record',
        'a load is answered with the newest record, whatever snapshot it is for',
        'serving.backends.recent',
        '        if found[1] < tid:\n            return found\n        self.missed += 1\n',
        '        return found\n',
    ),
    Mutation(
        'read-current-ignored',
        'readCurrent is not checked',
        'serving.commit.operations',
        'storage.checkCurrentSerialInTransaction(self.oid, self.serial, commit.transaction)',
        'pass',
    ),
    Mutation(
        'finished-but-failed',
        'a commit in eight is answered with a conflict after it was made permanent',
        'serving.backends.local',
        '        commit.phase.finished(commit, tid)\n        return tid\n',
        '        commit.phase.finished(commit, tid)\n'
        '        if tid[-1] % 8 == 0:\n'
        '            from ZODB.POSException import ConflictError\n\n'
        "            raise ConflictError('something has failed behind the commit')\n"
        '        return tid\n',
    ),
    Mutation(
        'not-verified',
        'a client that connects again does not invalidate what has changed meanwhile',
        'link.verify',
        '    state.catch_up(*changes)\n',
        '    state.catch_up(changes[0], [])\n',
    ),
    Mutation(
        'ends-too-late',
        'what changed while a client was away ends at the time of the reconnect',
        'link.state',
        '            self.cache.invalidate(oid, None)  # it is not known since when\n',
        '            self.cache.invalidate(oid, tid)\n',
    ),
    Mutation(
        'object-caches-not-dropped',
        'a client whose cache is dropped keeps the objects that are in memory',
        'link.state',
        '        self.database.invalidateCache()\n'
        '        self.database.invalidate(tid, [])  '
        '# from now on its snapshots are as new as that\n'
        '        self._set_last(tid)\n'
        '        # again, for connections that have taken an older snapshot since the first time\n'
        '        self.database.invalidateCache()\n',
        '        self.database.invalidate(tid, [])\n        self._set_last(tid)\n',
    ),
    Mutation(
        'unknown-as-conflict',
        'a commit whose outcome is not known is reported as a conflict',
        'link.commits',
        '        except ProtocolError as error:\n            # committed, most likely',
        '        except ClientDisconnected as error:\n'
        '            raise ConflictError(str(error)) from error\n'
        '        except ProtocolError as error:\n            # committed, most likely',
    ),
    Mutation(
        'no-second-connection',
        'a client that has lost its connection does not look for another',
        'link.link',
        '        self._problem = reason\n        self.state = self.state.then(LinkState.OFFLINE)\n',
        '        self._problem = reason\n',
    ),
    Mutation(
        'not-forwarded',
        'a second server does not pass on the invalidations of the first',
        'serving.hosted',
        '            self.committed(None, tid, oids)\n',
        '            self._note(tid, oids)\n',
    ),
    Mutation(
        'overtaken-load',
        'a second server answers a load with a record that has changed meanwhile',
        'serving.backends.loads',
        '                    load.overtaken = True\n',
        '                    pass\n',
        'tests/races/test_fan_out.py',
    ),
    Mutation(
        'abort-forgotten',
        'a transaction that is aborted stays open in the storage',
        'serving.backends.base',
        '        self._storage.tpc_abort(transaction)\n',
        '        pass\n',
    ),
    Mutation(
        'undo-not-invalidated',
        'the invalidation leaves out what an undo has changed',
        'serving.commit.operations',
        '            commit.changed[oid] = None\n            commit.new_serials[oid] = None\n',
        '            pass\n',
    ),
    Mutation(
        'end-not-written',
        'the end of a revision is not written to the cache file',
        'cache.cache_file',
        '        self._write_for_later(offset, format.pack_end(header, end, self.seed(place)))\n',
        '        format.pack_end(header, end, self.seed(place))\n',
    ),
    Mutation(
        'oids-twice',
        'a server that was killed gives out oids again that clients hold',
        'serving.filestorage',
        '                skip_oids(one, self._loop.system)\n',
        '                pass\n',
    ),
    Mutation(
        'chain-with-a-hole',
        'a chained transaction is committed though the one before it was not',
        'serving.calls.chained',
        '        if link.after is not None and link.after != self._last:\n',
        '        if link.after is None and self._last is link:\n',
    ),
    Mutation(
        'chain-behind-the-lost',
        'a chained transaction is committed though the one before it has failed at its end',
        'serving.calls.chained',
        '        self._last = None\n        link.answer.fail(error)\n\n',
        '        link.answer.fail(error)\n\n',
        'tests/serving/test_chained.py',
    ),
    Mutation(
        'answer-before-sync',
        'a transaction is shown and answered before it is synced',
        'serving.backends.grouping',
        '        return entry.answer\n',
        '        entry.is_synced = True\n        self._show(tid)\n        return entry.answer\n',
    ),
    Mutation(
        'invalidation-before-sync',
        'an invalidation is sent before its transaction is synced, and may be read',
        'serving.backends.grouping',
        '            self._unsynced.append((tid, size))\n',
        "            self._clients.send(commit.peer, 'invalidateTransaction', tid, entry.oids)\n"
        '            self._unsynced.append((tid, size))\n',
    ),
    Mutation(
        'synced-too-far',
        'a sync is taken for one of what was written while it ran',
        'serving.grouped',
        '            written, last = self._written, self._ltid\n',
        "            written, last = self._written, b'\\xff' * 8\n",
    ),
    Mutation(
        'synced-though-cut-off',
        'what was cut off after its sync is taken for permanent',
        'serving.grouped',
        '            if self.failure is not None and self._written is written '
        'and self._ltid < last:\n',
        "            if self._ltid < b'':\n",
        'tests/server/test_group_commit.py',
    ),
]

for module in (mutations_of_doors, mutations_of_followers, mutations_of_blobs):
    MUTATIONS += module.MUTATIONS

BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
