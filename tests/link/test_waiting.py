"""Threads that sleep until a call has its answer."""

import threading

from ZEO.link.waiting import Waiting
from ZEO.net.system import REAL


def test_all_threads_that_wait_for_one_call_wake_when_it_is_done():
    waiting = Waiting('load_many')
    waiting.sleep(REAL, 0)  # gets ready
    threads = [
        threading.Thread(target=waiting.sleep, args=(REAL, 1000), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    waiting.done = True
    waiting.wake()
    for thread in threads:
        thread.join(20)

    assert not any(thread.is_alive() for thread in threads)
