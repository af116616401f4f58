"""Threads that wait for the same answer, as for a prefetched object."""

import threading

from ZEO.link.waiting import SharedWaiting, Waiting
from ZEO.net.system import REAL


def test_all_threads_that_wait_for_one_call_wake_when_it_is_done():
    shared, followers = SharedWaiting('load_many'), [Waiting('load_many') for _ in range(3)]
    for follower in followers:
        shared.follow(follower)
        follower.sleep(REAL, 0)  # gets ready
    threads = [
        threading.Thread(target=follower.sleep, args=(REAL, 1000), daemon=True)
        for follower in followers
    ]
    for thread in threads:
        thread.start()
    shared.done = True
    for thread in threads:
        thread.join(20)

    assert not any(thread.is_alive() for thread in threads)
    assert all(follower.done for follower in followers)


def test_who_comes_when_a_call_is_done_does_not_wait():
    shared, late = SharedWaiting('load_many'), Waiting('load_many')
    shared.done = True
    shared.follow(late)

    assert late.done
