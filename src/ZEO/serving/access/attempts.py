"""How often a secret may be guessed: a bound for each client, for each user, and for all.

Enters: who tries to prove which user's secret, and how that ended. Leaves: whether another attempt
is looked at now, and how late a failure is answered. Fails: never.

Only failures count. A source that has proved a user's secret before is bounded by its own failures
alone: so the guesses of others, however many, do not keep it out. For a source that comes for the
first time while somebody guesses, an attempt that is not looked at fails for now, not for good; the
client tries again. Nothing here grows with the number of clients or names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

#: Failures at once, and seconds after which one more is looked at. Of one source for one user: that
#: may be the fifty processes of a machine, of which some still have an old secret, with which each
#: tries once a minute. Of one source for all users; for one user from all sources; of all.
BY_BOTH, BY_SOURCE, BY_USER, BY_ALL = (50, 1.0), (100, 0.5), (100, 1.0), (500, 0.05)

#: Seconds by which a first failure is answered late, doubled by each that follows, and the longest;
#: less than a client waits.
FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0

#: Entries of each table. No honest site has as many sources; those that are forgotten are the
#: oldest, which count least.
MOST = 10_000


class _Bound:
    """A number of failures at once for each key, and one more after each `seconds`."""

    def __init__(self, at_once: int, seconds: float) -> None:
        self._seconds = seconds
        self._at_once = at_once
        # key -> when all its failures are forgotten
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def failures(self, key: Hashable, now: float) -> float:
        """Return how many failures are not forgotten."""
        return max(0.0, self._until.get(key, now) - now) / self._seconds

    def wait(self, key: Hashable, now: float) -> float:
        """Return the seconds until another attempt is looked at."""
        return max(0.0, (self.failures(key, now) - self._at_once + 1) * self._seconds)

    def failed(self, key: Hashable, now: float) -> None:
        """Count a failure."""
        self._until[key] = max(now, self._until.get(key, now)) + self._seconds
        self._until.move_to_end(key)
        if len(self._until) > MOST:
            self._until.popitem(last=False)


class Attempts:
    """The attempts of all clients of a server.

    :param now: a clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._by_both = _Bound(*BY_BOTH)
        self._by_source = _Bound(*BY_SOURCE)
        self._by_user = _Bound(*BY_USER)
        self._by_all = _Bound(*BY_ALL)
        # sources that have proved a user's secret, with that user; the last ones
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait(self, source: str, user: str) -> float:
        """Return the seconds until an attempt is looked at; 0 for now."""
        now = self._now()
        both = self._by_both.wait((source, user), now)
        if (source, user) in self._known:
            return both
        return max(
            both,
            self._by_source.wait(source, now),
            self._by_user.wait(user, now),
            self._by_all.wait(None, now),
        )

    def failed(self, source: str, user: str) -> float:
        """Count a failure; return the seconds by which it is to be answered late."""
        now = self._now()
        before = self._by_both.failures((source, user), now)
        self._by_both.failed((source, user), now)
        self._by_source.failed(source, now)
        self._by_user.failed(user, now)
        self._by_all.failed(None, now)
        return min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(before, 30))

    def succeeded(self, source: str, user: str) -> None:
        """Note that the source knows the user's secret."""
        self._known[source, user] = None
        self._known.move_to_end((source, user))
        if len(self._known) > MOST:
            self._known.popitem(last=False)
