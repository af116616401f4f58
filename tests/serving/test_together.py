"""What clients are sent of several commits that are shown at the same time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ZEO.serving.together import Together


@dataclass(eq=False)
class Stream:
    """A channel that keeps what waits, and notes when it leaves."""

    name: int
    sent: list[tuple[int, tuple[tuple[str, int], ...]]]  # of all channels, in the order of sends
    waiting: list[tuple[str, int]] = field(default_factory=list)
    is_gathering: bool = False

    def push(self, message: tuple[str, int]) -> None:
        self.waiting.append(message)

    def gather(self) -> None:
        self.is_gathering = True

    def flush(self) -> None:
        self.is_gathering = False
        if self.waiting:
            self.sent.append((self.name, tuple(self.waiting)))
            self.waiting.clear()

    def answer(self, message: tuple[str, int]) -> None:
        self.waiting.append(message)
        if not self.is_gathering:
            self.flush()


class Clients:
    def __init__(self, number: int) -> None:
        self.together: Together | None = None
        self.sent: list[tuple[int, tuple[tuple[str, int], ...]]] = []
        self.streams = [Stream(name, self.sent) for name in range(number)]
        self.gone: set[int] = set()

    def channel(self, peer: int) -> Stream | None:
        return None if peer in self.gone else self.streams[peer]

    def show(self, committers: list[int]) -> None:
        """Show a commit of each of these, one after the other."""
        with Together(self) as together:  # type: ignore[arg-type]
            for tid, committer in enumerate(committers):
                together.commit_of(committer)
                for stream in self.streams:
                    if stream.name != committer and stream.name not in self.gone:
                        together.push(stream, ('changed', tid))  # type: ignore[arg-type]
                if committer not in self.gone:
                    self.streams[committer].answer(('committed', tid))
        assert self.together is None

    def pieces(self, name: int) -> int:
        return sum(receiver == name for receiver, _ in self.sent)

    def check(self, committers: list[int]) -> None:
        """Each client has everything in order, and each answer left after what it is about."""
        left: dict[tuple[str, int], list[int]] = {}
        order: dict[int, list[int]] = {stream.name: [] for stream in self.streams}
        for moment, (name, messages) in enumerate(self.sent):
            for message in messages:
                left.setdefault(message, []).append(moment)
                order[name].append(message[1])
        for name, tids in order.items():
            assert tids == ([] if name in self.gone else list(range(len(committers))))
        for tid, committer in enumerate(committers):
            if committer not in self.gone:
                (answered,) = left[('committed', tid)]
                others = left.get(('changed', tid), [])
                assert len(others) == len(self.streams) - len(self.gone) - 1
                assert all(moment < answered for moment in others)


def test_one_who_only_reads_gets_one_piece() -> None:
    clients = Clients(4)
    clients.show([0, 1, 2])
    assert clients.pieces(3) == 1
    clients.check([0, 1, 2])


def test_each_committer_gets_two_pieces_at_most() -> None:
    clients = Clients(16)
    clients.show(list(range(16)))
    assert [clients.pieces(name) for name in range(16)] == [1] + [2] * 15
    clients.check(list(range(16)))


def test_a_chain_of_one_client_is_one_piece_for_all() -> None:
    clients = Clients(3)
    clients.show([1] * 10)
    assert [clients.pieces(name) for name in range(3)] == [1, 1, 1]
    clients.check([1] * 10)


def test_an_answer_does_not_go_with_that_to_an_earlier_commit_when_others_committed_between() -> (
    None
):
    clients = Clients(3)
    clients.show([0, 1, 0])
    clients.check([0, 1, 0])


def test_a_client_that_is_gone_does_not_matter() -> None:
    clients = Clients(3)
    clients.gone.add(1)
    clients.show([0, 1, 2])
    clients.check([0, 1, 2])


def test_whoever_commits_when() -> None:
    for seed in range(500):
        chance = random.Random(seed)
        clients = Clients(chance.randint(1, 6))
        names = range(len(clients.streams))
        clients.gone = {name for name in names if chance.random() < 0.1}
        committers = [chance.choice(names) for _ in range(chance.randint(1, 12))]
        clients.show(committers)
        clients.check(committers)
