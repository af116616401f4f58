"""ZODB's tests of undo, on clients of a server process."""

from support import kinds, sets


class TestFileStorage(sets.Undo):
    """A FileStorage."""

    kind = kinds.FILE
