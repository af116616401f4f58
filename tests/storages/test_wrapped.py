"""ZODB's storage tests on storages that are wrapped, and on one that has changes over a base."""

from support import kinds, sets


class TestHexOnServer(sets.Everything):
    """The server hosts a wrapper that transforms every record."""

    kind = kinds.HEX_ON_SERVER


class TestHexOnClient(sets.Everything):
    """The wrapper is around the client; the server has its other half, to read references."""

    kind = kinds.HEX_ON_CLIENT


class TestDemoStorage(sets.Basics, sets.Iteration):
    """A DemoStorage."""

    kind = kinds.DEMO
    use_extension_bytes = False  # it has none

    testOversizeNote = None  # asserts a limit of FileStorage's format
    testUndoZombie = None  # it has no undo


class TestFileStorageWithoutGC(sets.PackWithoutGC):
    """A FileStorage that leaves collecting garbage to others."""

    kind = kinds.FILE_WITHOUT_GC
