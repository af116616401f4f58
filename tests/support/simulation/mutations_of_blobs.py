"""Mistakes in what is done with the files of blobs: plans with blobs have to find them.

Enters: nothing. Leaves: the list of them. Fails: never.
"""

from __future__ import annotations

from functools import partial

from support.simulation.mutation import Mutation

_Mutation = partial(Mutation, having='blobs')

MUTATIONS = [
    _Mutation(
        'blobs-not-synced',
        'a commit is answered though its blob files are not on the disk',
        'serving.blob_syncs',
        '    files = dict.fromkeys(paths)\n',
        '    files: dict[str, None] = {}\n',
    ),
    _Mutation(
        'blobs-not-copied',
        'a follower copies the records of blobs and not their files',
        'replica.following',
        "            if data is not None and b'ZODB.blob' in data and is_blob(data):\n",
        '            if False:\n',
    ),
    _Mutation(
        'blobs-change-places',
        "a commit puts the files of its blobs into each other's places in the cache",
        'link.cached_blobs',
        '        for oid, path in blobs:\n',
        '        for (oid, _), (_, path) in zip(blobs, blobs[::-1]):\n',
    ),
]
