"""What clients are sent of several commits that are shown at the same time."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ZEO.serving.together import Together
from ZEO.wire.messages import PickleCodec


@dataclass(eq=False)
class Stream:
    """A client and its channel, which keeps what waits, and notes when it leaves."""

    name: int
    sent: list[tuple[int, tuple[tuple[str, int], ...]]]  # of all channels, in the order of sends
    waiting: list[tuple[str, int]] = field(default_factory=list)
    is_gathering: bool = False
    _pending: bool = True  # what goes to many comes by push_now

    @property
    def codec(self) -> PickleCodec:
        return PickleCodec()

    def push_now(self, data: bytes) -> None:
        while data:
            size = 4 + int.from_bytes(data[:4], 'big')
            _, _, name, (tid,) = PickleCodec().decode(data[4:size])
            self.waiting.append((name, tid))
            data = data[size:]
        self.flush()

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


class Clients(dict[Stream, tuple[bytes, Stream]]):
    def __init__(self, number: int, gone: Collection[int] = ()) -> None:
        self.together: Together | None = None
        self.sent: list[tuple[int, tuple[tuple[str, int], ...]]] = []
        self.streams = [Stream(name, self.sent) for name in range(number)]
        self.gone = gone
        super().__init__({one: (b'Z5', one) for one in self.streams if one.name not in gone})

    def not_sent(self, channel: Any, error: BaseException) -> None:
        raise error

    def show(
        self,
        committers: list[int],
        unknown: Collection[int] = (),
        audience: Collection[Stream] | None = None,
    ) -> None:
        """Show a commit of each of these, one after the other.

        :param unknown: tids whose committers were told that the outcome is not known.
        :param audience: who is sent them; None: all.
        """
        with Together(self, self if audience is None else audience) as together:  # type: ignore[arg-type]
            for tid, committer in enumerate(committers):
                stream = self.streams[committer]
                together.commit_of(stream)
                together.add(None if tid in unknown else stream, 'changed', tid)
                if committer not in self.gone and tid not in unknown:
                    stream.answer(('committed', tid))
        assert self.together is None

    def pieces(self, name: int) -> int:
        return sum(receiver == name for receiver, _ in self.sent)

    def check(self, committers: list[int], unknown: Collection[int] = ()) -> None:
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
            if committer not in self.gone and tid not in unknown:
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
    clients = Clients(3, {1})
    clients.show([0, 1, 2])
    clients.check([0, 1, 2])


def test_one_outside_the_audience_is_sent_nothing_but_its_own_answers() -> None:
    clients = Clients(4)
    clients.show([0, 2, 1], audience=clients.streams[:2])
    sent: list[list[tuple[str, int]]] = [[], [], [], []]
    for receiver, messages in clients.sent:
        sent[receiver].extend(messages)
    assert sent[0] == [('committed', 0), ('changed', 1), ('changed', 2)]
    assert sent[1] == [('changed', 0), ('changed', 1), ('committed', 2)]
    assert sent[2:] == [[('committed', 1)], []]


def test_whoever_commits_when() -> None:
    for seed in range(500):
        chance = random.Random(seed)
        names = range(chance.randint(1, 6))
        clients = Clients(len(names), {name for name in names if chance.random() < 0.1})
        committers = [chance.choice(names) for _ in range(chance.randint(1, 12))]
        unknown = {tid for tid in range(len(committers)) if chance.random() < 0.1}
        clients.show(committers, unknown)
        clients.check(committers, unknown)


def test_lists_that_there_is_no_memory_for_close_all_who_would_have_been_sent_it() -> None:
    clients, closed = Clients(3), []

    class Scarce(bytes):
        def __hash__(self) -> int:
            raise MemoryError

    clients[clients.streams[1]] = Scarce(b'Z5'), clients.streams[1]
    clients.not_sent = lambda channel, error: closed.append(channel)  # type: ignore[method-assign]
    with Together(clients, clients) as together:  # type: ignore[arg-type]
        together.add(None, 'changed', 1)
    assert closed == clients.streams
    assert not together._messages
