"""The transactions of a client that commits at the primary and reads from a follower.

Enters: what :mod:`ZEO.link.commits` says. Leaves: the same; once a transaction is committed, or has
met a conflict, what is read is as new as that. Fails: as that does. A transaction that is committed
is never reported as failed: if no server to read from has it in time, the next transaction that
begins waits for one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ZODB.POSException import ConflictError

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.commits import Commits
from ZEO.link.following_state import PrimaryState
from ZEO.link.primary_link import PrimaryLink
from ZEO.link.read_link import ReadLink
from ZEO.net.system import System


class FollowingCommits(Commits):
    """All transactions of a client storage.

    :param reads: the link to the server from which is read.
    """

    def __init__(
        self,
        primary: PrimaryLink,
        reads: ReadLink,
        state: PrimaryState,
        merge: Callable[..., bytes],
        check_writable: Callable[[], None],
        system: System,
    ) -> None:
        super().__init__(primary, state, merge, check_writable, system)
        self._primary_state = state
        self._reads = reads

    def vote(self, transaction: Any) -> list[bytes]:
        """Have the primary make sure that it can commit a transaction.

        After a conflict the application begins again: it would meet the same one as long as the
        follower does not have the transaction that it is with. The primary is asked how far that
        may be: the conflict may name one that waits for followers, which clients are not shown yet,
        and never are if another server becomes the primary meanwhile.
        """
        try:
            return super().vote(transaction)
        except ConflictError:
            with suppress(ClientDisconnected):  # the conflict is what the application handles
                self._reads.catch_up()
            raise

    def finish(self, transaction: Any, callback: Callable[[bytes], Any] | None) -> bytes:
        """Commit; returns the tid once this client can read what it has committed."""
        buffer = self.find(transaction)  # or there is nothing to be unsure of
        tid = None
        try:
            tid = super().finish(transaction, callback)
            try:
                self._reads.pass_by(tid)
            finally:
                self._primary_state.reading.settle(tid)
            return tid
        except BaseException:
            if tid is None:
                self._primary_state.unsure = True
            self.has_failed(buffer)
            raise
