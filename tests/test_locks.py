"""A lock is given back whatever strikes the thread that holds it."""

import re
import sys
import threading
from pathlib import Path

import pytest

import ZEO.Exceptions
from ZEO.locks import under

PACKAGE = Path(ZEO.Exceptions.__file__).parent


class Struck(BaseException):
    """What a thread was struck with."""


def strike_at(point, function):
    """Raise at one line event of a function and of what it calls; tell whether there was one."""
    events = 0

    def trace(frame, event, argument):
        nonlocal events
        events += event in ('line', 'return')
        if events == point:
            raise Struck
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except Struck:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_lock_is_free_after_a_strike_at_any_line():
    lock, point = threading.Lock(), 1

    def done_under_it():
        assert lock.locked()

    while strike_at(point, lambda: under(lock, done_under_it)):
        assert not lock.locked(), f'struck at {point}'
        point += 1
    assert point > 4


def test_what_is_done_is_returned_or_raised():
    lock = threading.Lock()
    assert under(lock, int, '5') == 5
    with pytest.raises(ValueError, match='invalid literal'):
        under(lock, int, 'five')
    assert not lock.locked()


def test_a_lock_is_taken_in_one_line_in_the_modules_that_strikes_must_not_harm():
    """The formatter makes two lines of them, unless it is told not to."""
    modules = [
        *PACKAGE.glob('cache/*.py'),
        PACKAGE / 'link/outbox.py',
        PACKAGE / 'link/reader.py',
        PACKAGE / 'link/state.py',
        PACKAGE / 'locks.py',
        PACKAGE / 'net/tls_socket.py',
    ]
    taken = {
        f'{path.name}: {line.strip()}'
        for path in modules
        for line in path.read_text(encoding='utf-8').splitlines()
        if re.match(r'\s+with \S*lock:', line)
    }
    assert any(line.startswith('locks.py') for line in taken)
    assert not {line for line in taken if not line.endswith('# fmt: skip')}
