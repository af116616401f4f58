"""ZODB's tests of what every storage can do, on clients of a server process."""

from support import kinds, sets


class TestFileStorage(sets.Basics):
    """A FileStorage."""

    kind = kinds.FILE


class TestMappingStorage(sets.Basics):
    """A MappingStorage."""

    kind = kinds.MAPPING

    testOversizeNote = None  # asserts a limit of FileStorage's format
