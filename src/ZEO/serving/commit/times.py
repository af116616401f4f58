"""Where the time of a commit goes, from its vote to its end.

Enters: the moments at which a transaction reaches each phase, on the clock that never goes back.
Leaves: durations, counted for its storage. Fails: never.
"""

from __future__ import annotations

from ZEO.serving.histogram import Histogram

#: Transactions that are counted together at most: that takes the loop a fraction of a millisecond.
AT_ONCE = 200


class Times:
    """The moments of one transaction; 0.0 for what has not happened."""

    asked = 0.0  # when the client wanted the vote
    granted = 0.0  # when the transaction held the commit lock
    voted = 0.0  # when the storage had voted for it
    finishing = 0.0  # when the client wanted it to be permanent

    def __init__(self, begun: float = 0.0) -> None:
        self.begun = begun  # when its first message came

    def parts(self, end: float) -> dict[str, float]:
        """Return the seconds of each part of a transaction that was voted on and ends now."""
        moments = [
            ('network', self.begun),  # its data came
            ('queue', self.asked),  # for the commit lock
            ('vote', self.granted),  # in the storage, and with conflicts that the client resolves
            ('client', self.voted),  # between the answer to the vote and tpc_finish
            ('finish', self.finishing),  # in the storage
        ]
        reached = [(name, moment) for name, moment in moments if moment]
        ends = [moment for _, moment in reached[1:]] + [end]
        return {
            name: max(0.0, after - moment)
            for (name, moment), after in zip(reached, ends, strict=True)
        }


class Durations:
    """What the transactions of one storage have spent their time with.

    A commit only leaves its moments here: counting them takes less time for many together.
    """

    def __init__(self) -> None:
        self._wait = Histogram()
        self._hold = Histogram()
        self._vote = Histogram()
        self._client = Histogram()
        self._finish = Histogram()
        # asked, granted, voted, finishing and the end of transactions that are not counted yet
        self._new: list[tuple[float, float, float, float, float]] = []

    @property
    def wait(self) -> Histogram:
        """For the commit lock."""
        self._count()
        return self._wait

    @property
    def hold(self) -> Histogram:
        """With the commit lock, until the next transaction may have it."""
        self._count()
        return self._hold

    @property
    def vote(self) -> Histogram:
        """In the storage, and with conflicts that the client resolves."""
        self._count()
        return self._vote

    @property
    def client(self) -> Histogram:
        """Between the answer to the vote and tpc_finish."""
        self._count()
        return self._client

    @property
    def finish(self) -> Histogram:
        """Until it is permanent."""
        self._count()
        return self._finish

    def add(self, times: Times, now: float) -> None:
        """Count a transaction that gives back the commit lock now, or the wish for it."""
        if times.asked:
            new = self._new
            new.append((times.asked, times.granted, times.voted, times.finishing, now))
            if len(new) >= AT_ONCE:
                self._count()

    def _count(self) -> None:
        new, self._new = self._new, []
        granted = [moments for moments in new if moments[1]]
        self._wait.add_all([(moments[1] or moments[4]) - moments[0] for moments in new])
        self._hold.add_all([moments[4] - moments[1] for moments in granted])
        voted = [moments for moments in granted if moments[2]]
        self._vote.add_all([moments[2] - moments[1] for moments in voted])
        finishing = [moments for moments in voted if moments[3]]
        self._client.add_all([moments[3] - moments[2] for moments in finishing])
        self._finish.add_all([moments[4] - moments[3] for moments in finishing])
