"""ZODB's tests of undo, on clients of a server process."""

import pytest

from support import kinds, sets


@pytest.mark.smoke
class TestFileStorage(sets.Undo):
    """A FileStorage."""

    kind = kinds.FILE
