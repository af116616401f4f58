"""One storage's commit lock: clients take turns, the transactions of one client keep their order.

Enters: transactions that want it, each with a function to call when it holds the lock. Leaves: that
call, at once or when it is its turn. Fails: never. All in the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZEO.serving.turns import Turns


class CommitLock:
    """A lock that is waited for without blocking.

    A client with hundreds of transactions waits at one place, so that it holds up each of the
    others by one of them.

    :param places: how many may hold it at a time, where a storage can commit that many.
    :param soon: how to call a function a little later, in the same thread: a hundred waiters must
        not be a hundred calls deep.
    :param one_more: called with the number of waiting transactions when there is one more.
    """

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], None],
        one_more: Callable[[int], None] = lambda waiting: None,
        places: int = 1,
    ) -> None:
        self._soon = soon
        self._one_more = one_more
        self._places = places
        self._others: list[Any] = []  # further holders, the oldest first
        self.holder: Any = None  # the oldest one
        self._client: Any = None  # of the holder, or of the one before
        self._waiting: Turns[tuple[Any, Callable[[], None]]] = Turns()

    @property
    def holders(self) -> list[Any]:
        """Those that hold it, the oldest first."""
        return [] if self.holder is None else [self.holder, *self._others]

    @property
    def waiting(self) -> int:
        """How many wait for the lock."""
        return len(self._waiting)

    @property
    def waiting_clients(self) -> list[Any]:
        """The clients of waiting transactions, each once, in the order of their turns."""
        return self._waiting.clients()

    def concerns(self, client: Any) -> bool:
        """Return whether a transaction of this client holds the lock, or waits for it."""
        holders = (self.holder, *self._others)
        return client in self.waiting_clients or any(
            getattr(holder, 'peer', None) is client for holder in holders if holder is not None
        )

    def acquire(self, who: Any, granted: Callable[[], None], client: Any = None) -> None:
        """Call `granted` once `who` holds the lock.

        :param client: takes turns with other clients; None: `who` does.
        """
        client = who if client is None else client
        if self.holder is None:
            self.holder, self._client = who, client
            granted()
        elif len(self._others) + 1 < self._places:
            self._others.append(who)
            self._client = client
            granted()
        else:
            self._waiting.add(client, (who, granted))
            self._one_more(len(self._waiting))

    def forget_waiting(self) -> None:
        """Forget all that wait, since all of them are given up."""
        self._waiting = Turns()

    def take(self, who: Any, client: Any) -> bool:
        """Let `who` hold the lock if nothing holds it; return whether it does now."""
        if self.holder is not None:
            return False
        self.holder, self._client = who, client
        return True

    def release(self, who: Any, client: Any = None) -> None:
        """Take back the lock, or the wish for it; harmless where there is neither."""
        if self.holder is who:
            self.holder = self._others.pop(0) if self._others else None
        elif who in self._others:
            self._others.remove(who)
        else:
            self._waiting.remove(who if client is None else client, lambda entry: entry[0] is who)
            return
        if not self._waiting:
            return
        # Its next transaction may have come before those of others, but it has just had its turn.
        following = (
            self._waiting.take(lambda other: other is not self._client) or self._waiting.take()
        )
        if following is not None:
            self._client, (who, granted) = following
            if self.holder is None:
                self.holder = who
            else:
                self._others.append(who)
            self._soon(granted)
