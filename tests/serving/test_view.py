"""Whether an answer may leave that was read from a snapshot of a database."""

import pytest
from ZODB.utils import p64

from ZEO.serving.backends.view import View


def failing(*oids):
    """Yield oids, and then have no memory."""
    yield from oids
    raise MemoryError


def test_only_an_object_that_has_changed_since_is_behind():
    view = View(p64(10))
    view.advance(p64(20), [p64(1)])
    assert view.last == p64(20)
    assert view.is_behind(p64(1), p64(10))
    assert not view.is_behind(p64(2), p64(10))
    assert not view.is_behind(p64(1), p64(20))


def test_without_memory_every_object_has_changed():
    view = View(p64(10))
    with pytest.raises(MemoryError):
        view.advance(p64(20), failing(p64(1)))
    assert view.last == p64(20)
    assert view.is_behind(p64(1), p64(10)) and view.is_behind(p64(2), p64(10))
    assert not view.is_behind(p64(2), p64(20))
    view.advance(p64(30), [p64(1)])
    assert view.is_behind(p64(1), p64(20)) and not view.is_behind(p64(2), p64(20))
