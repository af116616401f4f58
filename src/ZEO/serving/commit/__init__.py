"""One client's transaction on the server, from its first operation to its end.

Enters: the operations that the client sends, its vote, its finish or abort. Leaves: the storage's
two-phase commit, under the storage's commit lock, and the invalidation of every other client.
Fails: a call that makes no sense in a phase raises StorageTransactionError; what the storage raises
fails the vote or the finish, and the transaction is over.

``phase`` says what may happen to it, ``phases`` what each event does in each phase, ``state`` is
what a transaction holds, ``operations`` are the changes that it consists of, ``log`` keeps them
until the vote, and ``lock`` is the commit lock.
"""

from ZEO.serving.commit.state import Commit

__all__ = ['Commit']
