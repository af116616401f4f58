"""Mistakes in following, in reading from followers and in waiting for them.

Plans with followers have to find them.

Enters: nothing. Leaves: the list of them. Fails: never.
"""

from __future__ import annotations

from functools import partial

from support.simulation.mutation import Mutation

_Followers = partial(Mutation, having='followers')
_Promotions = partial(Mutation, having='promotions')
_Losses = partial(Mutation, having='losses')

MUTATIONS = [
    _Followers(
        'own-commit-not-waited-for',
        'a commit returns before the follower that is read from has it',
        'link.following_commits',
        '                self._reads.pass_by(tid)\n',
        '                pass\n',
    ),
    _Followers(
        'follower-behind-is-read',
        'a follower is read from that does not have what the client has seen',
        'link.following_state',
        'return max(self.cache.getLastTid() or z64, self.last_tid or z64, self.needed)',
        'return z64',
    ),
    _Followers(
        'primary-not-asked',
        'a client that reads from a follower does not ask the primary for what it has to see',
        'link.read_link',
        "            self.reach(connection.call('lastTransaction', ()), self._patience)\n",
        '            super().synchronize()\n',
    ),
    _Followers(
        'own-commit-not-applied',
        "the records of a client's own commit are not taken by its database",
        'link.following_state',
        '        own.callback(tid)\n        rest',
        '        rest',
    ),
    _Followers(
        'own-commit-not-ended',
        "what a client's own commit has replaced stays current in its cache",
        'link.following_state',
        '            self._end(oid, tid)\n',
        '            pass\n',
    ),
    _Followers(
        'follower-tells-no-one',
        'a follower does not send its clients what it copies',
        'replica.storage',
        '            self._database.invalidate(tid, oids)\n',
        '            pass\n',
    ),
    _Followers(
        'group-indexed-in-part',
        'a follower keeps the places of the last transaction of a group alone',
        'replica.group',
        '        self.index.update(self._own)\n',
        '        self.index = self._own\n',
    ),
    _Promotions(
        'answered-without-followers',
        'a commit is answered when it is on the disk of the primary alone',
        'serving.backends.awaiting',
        '        if self._missing_since is not None and not self._rules.refuse:\n',
        '        if True:\n',
    ),
    _Promotions(
        'acknowledged-too-far',
        'a follower acknowledges what it has only heard of',
        'replica.following',
        '            self._primary.replicated(group.last)\n',
        '            self._primary.replicated(self._primary.newest())\n',
    ),
    _Promotions(
        'seen-before-acknowledged',
        'clients may read what no follower has acknowledged',
        'serving.backends.unacknowledged',
        'return self.seen if self._entries or self.is_writing else maxtid',
        'return maxtid',
    ),
    _Promotions(
        'lost-branch-kept',
        'an old primary keeps what the new one lacks',
        'replica.lost',
        '        storage._file.truncate(end)\n',
        '        pass\n',
    ),
    _Losses(
        'lost-not-noticed',
        'a client that has seen what is lost is told only what has changed since',
        'serving.invalidations',
        '        if tid != self._known_after and all('
        'changed_at != tid for changed_at, _ in self._recent):\n',
        '        if False:\n',
    ),
    _Losses(
        'lost-saved-in-part',
        'an old primary saves what the new one lacks without its first transaction',
        'replica.lost',
        '    save(storage, ours, places, path)\n',
        '    save(storage, ours, places[1:], path)\n',
    ),
    _Promotions(
        'promoted-with-oids-given-out',
        'a promoted follower gives out oids that the old primary has given out',
        'replica.storage',
        '        skip_oids(self, self._system)\n',
        '        pass\n',
    ),
]
