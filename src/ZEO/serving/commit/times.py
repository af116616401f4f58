"""Where the time of a commit goes, from its vote to its end.

Enters: the moments at which a transaction reaches each phase, on the clock that never goes back.
Leaves: durations, counted for its storage. Fails: never.
"""

from __future__ import annotations

from ZEO.serving.histogram import Histogram


class Times:
    """The moments of one transaction; 0.0 for what has not happened."""

    __slots__ = ('begun', 'asked', 'granted', 'voted', 'finishing')

    def __init__(self, begun: float = 0.0) -> None:
        self.begun = begun  # when its first message came
        self.asked = 0.0  # when the client wanted the vote
        self.granted = 0.0  # when the transaction held the commit lock
        self.voted = 0.0  # when the storage had voted for it
        self.finishing = 0.0  # when the client wanted it to be permanent

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
    """What the transactions of one storage have spent their time with."""

    def __init__(self) -> None:
        self.wait = Histogram()  # for the commit lock
        self.hold = Histogram()  # with the commit lock, until the next transaction may have it
        self.vote = Histogram()  # in the storage, and with conflicts that the client resolves
        self.client = Histogram()  # between the answer to the vote and tpc_finish
        self.finish = Histogram()  # until it is permanent

    def add(self, times: Times, now: float) -> None:
        """Count a transaction that gives back the commit lock now, or the wish for it."""
        if not times.granted:
            if times.asked:
                self.wait.add(now - times.asked)
            return
        self.wait.add(times.granted - times.asked)
        self.hold.add(now - times.granted)
        if times.voted:
            self.vote.add(times.voted - times.granted)
            if times.finishing:
                self.client.add(times.finishing - times.voted)
                self.finish.add(now - times.finishing)
