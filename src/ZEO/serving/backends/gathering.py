"""How many transactions the next sync of a file waits for.

Enters: when a sync has ended, for how many, and when transactions are written. Leaves: the number
that the next one waits for, and for how long. Fails: never.

The clients that a sync has answered come back with their next transactions, one after the other.
Where all are back in less time than a sync takes, the next one waits for all: they share each one.
Otherwise it takes half of them, and the other half comes back meanwhile.
"""

from __future__ import annotations

from ZEO.serving.torn_commit import MOST_TRANSACTIONS

#: Seconds that a sync waits for others at most.
LONGEST = 0.1

#: Parts of a sync's time that it waits where it is not known how soon clients come back.
_UNKNOWN = 0.3

#: What the last turns weigh against the newest.
_MEMORY = 0.8


class Gathering:
    """That of one storage."""

    def __init__(self) -> None:
        #: Transactions that the next sync waits for.
        self.expected = 1
        self._most = 1  # which came in time before
        self._first = self._next = 0.0  # seconds until one comes back, and from there to the next
        self._since = self._began = 0.0  # when the last sync has ended, and when the first was back
        self._answered = self._missing = 0  # by that sync; how many of them are not back
        self._seconds = 0.0  # that it has taken

    def synced(self, answered: int, written: int, seconds: float, now: float) -> None:
        """A sync has ended, for `answered` transactions; `written` wait for the next.

        :param seconds: that a sync takes.
        """
        everyone = answered + written
        returning = self._first + self._next * (everyone - 1)
        self.expected = 1 if returning > seconds else min(everyone, self._most)
        self._since, self._missing, self._answered = now, answered, answered
        self._seconds = seconds

    def written(self, now: float) -> None:
        """One more is written."""
        missing, answered = self._missing, self._answered
        if not missing:
            return
        if missing == answered:
            self._began = now
            self._first = self._mean(self._first, now - self._since)
            # so that it is tried again to wait, where each sync was for one
            self._next = min(self._next, self._first)
        if missing == 1 < answered:
            self._next = self._mean(self._next, (now - self._began) / (answered - 1))
        self._missing = missing - 1

    def _mean(self, old: float, new: float) -> float:
        new = min(new, self._seconds)  # a client that pauses says nothing of the others
        return _MEMORY * old + (1 - _MEMORY) * new if old else new

    def patience(self, written: int, seconds: float) -> float:
        """Return for how many seconds the next sync waits for the others.

        :param seconds: that a sync takes.
        """
        if not self._first:
            return min(_UNKNOWN * seconds, LONGEST)
        missing = self.expected - written
        return min(2 * (self._first + self._next * missing), seconds, LONGEST)

    def came(self) -> None:
        """As many as were expected came."""
        self._most = min(2 * self._most, MOST_TRANSACTIONS)

    def gave_up(self, written: int) -> None:
        """No more than `written` came in time."""
        self._most = max(written, 1)
