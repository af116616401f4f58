"""ZODB's storage tests for a client of ZEO 6, by the unittest of its own environment.

See ``tests/interop/test_storages.py``; a server of ours serves.
"""

from support import kinds, sets


class Blobs(sets.Everything):
    """A FileStorage with blobs."""

    kind = kinds.FILE_TRANSFERRED_BLOBS
    testTransactionExtensionFromIterator = None  # pickles the class of a dict, which we refuse

    # Sixty-four of its clients that come and go are slow, and not what is tested here.
    test_race_external_invalidate_vs_disconnect = None


class Mapping(sets.Basics, sets.Iteration):
    """A MappingStorage."""

    kind = kinds.MAPPING

    test_race_external_invalidate_vs_disconnect = None  # as above
    testOversizeNote = None  # asserts a limit of FileStorage's format
    testTransactionExtensionFromIterator = None  # as above
    testResolve = None  # a storage that resolves nothing, and a client that does not do it for it
    testUndoZombie = None  # it has no undo
    testUnresolvable = None  # as testResolve
