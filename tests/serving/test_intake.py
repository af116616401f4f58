"""Large messages share the server's memory: something is left for whoever comes next, and all
arrive in the end.
"""

import pytest

from support.clock import Clock
from ZEO.net.loop import Loop
from ZEO.serving.account import Budget
from ZEO.serving.intake import LEAST, PATIENCE, Intake


class Sender:
    """A client that sends one message, byte by byte so to speak."""

    def __init__(self, intake, size):
        self.intake, self.size = intake, size
        self.has, self.held, self.reason = 0, False, None

    def arrived(self):
        return self.has

    def hold_input(self, hold):
        self.held = hold

    def close(self, reason):
        self.reason = reason
        self.intake.left(self)

    def send(self, upto=None, step=10):
        """Send until it is held, or complete, or has sent so much."""
        upto = self.size if upto is None else min(self.size, upto)
        while not self.held and self.has < upto:
            self.intake.wants(self, min(self.size, self.has + step))
            if not self.held:
                self.has = min(self.size, self.has + step)
        if self.has == self.size:
            self.intake.wants(self, 0)


def finish(*senders):
    """Send whatever may be sent until all is."""
    for _ in senders:
        for sender in senders:
            if sender.has < sender.size:
                sender.send()
    assert all(sender.has == sender.size for sender in senders)


@pytest.fixture
def loop():
    loop = Loop(Clock())
    yield loop
    loop.close()


@pytest.fixture
def intake(loop):
    return Intake(loop, Budget(1000))


def test_one_message_that_is_alone_may_be_larger_than_the_budget(intake):
    sender = Sender(intake, 5000)
    sender.send()
    assert sender.has == 5000 and intake.budget.used == 0


def test_something_is_left_for_whoever_comes_next(intake):
    senders = [Sender(intake, 10**6) for _ in range(20)]
    for sender in senders:
        sender.send(900, 1)
    assert not senders[0].held and all(sender.held for sender in senders[1:])
    small = Sender(intake, 5)
    small.send(step=1)
    assert small.has == 5


def test_the_smallest_is_the_next(intake):
    first, large, small = Sender(intake, 5000), Sender(intake, 3000), Sender(intake, 300)
    first.send(900)
    large.send()
    small.send()
    assert large.held and small.held
    first.send()
    assert not small.held
    finish(large, small)


def test_all_arrive_one_after_the_other(intake):
    senders = [Sender(intake, 3000) for _ in range(10)]
    for _ in range(12):
        for sender in senders:
            if sender.has < sender.size:
                sender.send(sender.has + 500)
                held = sum(one.has for one in senders if one.has < one.size)
                assert held <= 1000 + 3000
    finish(*senders)
    for size in (100, 3000):  # if one of them still waited, it would be let in before the second
        last = Sender(intake, size)
        last.send()
        assert last.has == size and intake.budget.used == 0
    for sender in senders:
        intake.left(sender)  # now its client goes, and has nothing to give back
    assert intake.budget.used == 0


def stall(intake):
    """One that has the most and does not go on, and one that waits for it."""
    stalled, waiting = Sender(intake, 5000), Sender(intake, 800)
    stalled.send(900)
    waiting.send()
    assert waiting.held
    return stalled, waiting


def test_one_that_does_not_come_on_is_closed_when_others_wait(loop, intake):
    stalled, waiting = stall(intake)
    loop.system.time += PATIENCE + 1
    loop.run_once(0)
    assert 'has stalled' in stalled.reason and not waiting.held
    waiting.send()
    assert waiting.has == 800 and intake.budget.used == 0


def test_one_that_comes_on_slowly_is_not(loop, intake):
    stalled, waiting = stall(intake)
    for _ in range(5):
        loop.system.time += PATIENCE + 1
        stalled.has += LEAST
        loop.run_once(0)
        assert stalled.reason is None and waiting.held
    loop.system.time += PATIENCE + 1
    loop.run_once(0)
    assert stalled.reason and not waiting.held


def test_one_that_nobody_waits_for_may_take_its_time(loop, intake):
    stalled, waiting = stall(intake)
    waiting.intake.left(waiting)  # gone
    for _ in range(3):
        loop.system.time += PATIENCE + 1
        loop.run_once(0)
    assert stalled.reason is None
    stalled.send()
    assert intake.budget.used == 0


def test_whoever_is_gone_is_waited_for_no_more(intake):
    stalled, waiting = stall(intake)
    intake.left(stalled)
    assert not waiting.held
    waiting.send()
    assert waiting.has == 800
