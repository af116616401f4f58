"""ZODB's tests of history, iteration and copying, on clients of server processes."""

import pytest

from support import kinds, sets


@pytest.mark.smoke
class TestFileStorage(sets.Iteration):
    """A FileStorage."""

    kind = kinds.FILE


class TestMappingStorage(sets.Iteration):
    """A MappingStorage."""

    kind = kinds.MAPPING
    use_extension_bytes = False  # it has none

    testUndoZombie = None  # it has no undo


class TestFileStorageRecovery(sets.Recovery):
    """From one FileStorage to another."""

    kind = kinds.FILE_SHARED_BLOBS
