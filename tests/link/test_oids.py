"""New oids: each is given to one thread only, and is of the connection that it is used on."""

import threading

from support.scripted import Running, oid
from ZEO.link.oids import Oids


def test_each_is_given_once_and_in_the_order_of_the_server():
    answers = iter([[oid(1), oid(2)], [oid(3)]])
    oids = Oids(lambda: next(answers))
    assert [oids.take() for _ in range(3)] == [oid(1), oid(2), oid(3)]


def test_those_of_an_earlier_connection_are_not_used():
    answers = iter([[oid(1), oid(2)], [oid(1)]])
    oids = Oids(lambda: next(answers))
    oids.take()
    oids.forget()
    assert oids.take() == oid(1)


def test_nor_are_those_of_an_answer_that_another_connection_follows():
    def ask():
        answer = next(answers)
        if answer == [oid(1)]:
            oids.forget()
        return answer

    answers = iter([[oid(1)], [oid(7)]])
    oids = Oids(ask)
    assert oids.take() == oid(7)


def test_a_thread_does_not_wait_for_what_another_one_asks():
    """Each would wait for a connection once more, one after the other."""
    first_asks, answer = threading.Event(), threading.Event()

    def ask():
        if first_asks.is_set():
            return [oid(2)]
        first_asks.set()
        answer.wait(30)
        return [oid(1)]

    oids = Oids(ask)
    first = Running(oids.take)
    assert first_asks.wait(30)
    second = threading.Thread(target=oids.take, daemon=True)
    second.start()
    second.join(10)
    try:
        assert not second.is_alive()
    finally:
        answer.set()
    assert first.result() == oid(1)


def test_threads_that_ask_at_the_same_time_get_different_ones():
    number, both = iter(range(10**6)), threading.Barrier(2, timeout=30)

    def ask():
        both.wait()
        return [oid(next(number)) for _ in range(10)]

    oids = Oids(ask)
    takers = [Running(lambda: [oids.take() for _ in range(5)]) for _ in range(2)]
    taken = takers[0].result() + takers[1].result()
    assert len(set(taken)) == 10
