"""What the two ends of this package agree on beyond the protocol of ZEO 6: names and numbers.

Enters: nothing. Leaves: constants, which are written nowhere else. Fails: never.

A server announces what it can do in the answer to get_info, under :data:`EXTENSIONS`; a client asks
for nothing that is not announced there. Clients and servers of ZEO 6 do not look at it. The calls
that belong to extensions are rows of :mod:`ZEO.wire.calls`, as all calls are.
"""

from __future__ import annotations

#: The key of get_info under which a server lists what it can do.
EXTENSIONS = 'extensions'

#: load_many and iterator_batch: many objects, or many transactions, in one answer.
BATCHES = 'batches'

#: A client may have several transactions open on one connection.
MULTI_COMMIT = 'multi_commit'

#: The server leaves conflicts that it cannot resolve to those clients that say, behind a line break
#: in their label, that they resolve them; they say it with this same word.
RESOLVES = 'resolves'

#: The extension of a transaction is sent as the bytes that are stored.
EXTENSION_BYTES = 'extension_bytes'

#: restoreBlobEnd and restoreBlobShared.
RESTORE_BLOB = 'restore_blob'

#: commit_after: many transactions are committed one after the other, without a round trip for each.
COMMIT_AFTER = 'chained_commits'

#: A third argument of sendBlob asks for the blob's length in front of it.
BLOB_LENGTH = 'blob_length'

#: The server knows its followers: they say who they are (follow), and what they have on disk
#: (replicated); one of them can be made a primary (promote). Where commits wait for followers, they
#: get invalidations before all other clients, and see what others do not see yet, from `follow` on.
FOLLOWERS = 'followers'

#: A server that is about to stop says so in an ``info`` message, under this key, with the seconds
#: after which it ends the connections; to those clients that say, with this same word behind a line
#: break in their label, that they leave by themselves.
STOPPING = 'stopping'

#: After the answer to a load the server sends records that the client will want next
#: (``readAhead``), to those clients that say, with this same word behind a line break in their
#: label, that they take them; they say which of those they have used (``used_ahead``).
READ_AHEAD = 'records_ahead'

#: All that a server of this package can do.
ALL = (
    BATCHES,
    MULTI_COMMIT,
    RESOLVES,
    EXTENSION_BYTES,
    RESTORE_BLOB,
    COMMIT_AFTER,
    BLOB_LENGTH,
    FOLLOWERS,
    STOPPING,
    READ_AHEAD,
)

#: What a client says, behind a line break in its label, that it can do.
OF_CLIENTS = (RESOLVES, STOPPING, READ_AHEAD)

#: The key of get_info for the largest message that the server accepts, in bytes.
MESSAGE_SIZE = 'max-message-size'

#: The key of get_info, and of an ``info`` message when it changes, for the part that a server has
#: for its storage: one of the two values below; absent where it never was a follower.
ROLE = 'role'
REPLICA, PRIMARY = 'replica', 'primary'

#: The same for whether a follower has its primary at hand and all that it has committed, except for
#: the last moments; absent where the server is not a follower.
FOLLOWS = 'follows'

#: The same for whether a follower has ever had all that its primary had then: what it has before is
#: a database of long ago.
WHOLE = 'whole'

#: The same for the ids of a follower and of those between it and its primary, its own first; one
#: that is itself among them must not follow it.
CHAIN = 'chain'

#: The key of get_info for whether a storage keeps the history of its objects, without which it
#: cannot be followed; absent where it does.
HISTORY = 'keeps-history'

#: The same for whether a transaction of which a server tells has changed its objects, all of them
#: then; False where some may have changed before, at any time since the transaction that was told
#: last. Absent where it has, and in ``info`` when it begins to.
EXACT = 'exact-changes'

#: The key of an ``info`` message that says that a pack is done.
PACKED = 'packed'

#: Bytes of a blob in one message; peers of ZEO 6 expect no more.
CHUNK_SIZE = 59_000
