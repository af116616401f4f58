"""An exception strikes a thread while it opens a client, at every line and at every bytecode.

The program that was interrupted can open the client again at once: nothing has kept the lock of the
cache file, or a thread. That holds in the handler of the exception already, which has
all frames that were struck.
"""

import threading
import time

import pytest

from support.interrupted import PATIENCE, check
from support.striking import Striker, everywhere, strike

#: The functions on the way from the lock of the cache file to the client that closes it.
ON_THE_WAY = tuple(
    '_open _use _assemble open_cache _in_a_file open take _take open_cache_file'.split()
)


def by_line(point):
    return Striker(point)


def by_bytecode(point):
    return Striker(point, opcodes_of=ON_THE_WAY)


@everywhere
@pytest.mark.parametrize('striker', [by_line, by_bytecode])
def test_a_client_whose_opening_was_struck_can_be_opened_again(make_setting, striker, step):
    setting = make_setting(disk=True)
    setting.open().close()  # what is made once, is made
    threads = set(threading.enumerate())
    held = []

    def open_it():
        try:
            held.append(setting.open())
        except BaseException as error:
            if striker is by_line:
                held.append(error)

    def verify():
        close()
        held.append(setting.open())
        check(setting, held[-1])
        close()
        held.clear()
        until = time.monotonic() + PATIENCE
        while left := set(threading.enumerate()) - threads:
            assert time.monotonic() < until, left
            time.sleep(0.001)

    def close():
        for client in setting.clients[1:]:
            client.close()

    strike(step, open_it, verify, striker)
