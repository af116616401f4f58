"""All of ZODB's storage tests on FileStorages that have blobs, on clients of a server process."""

from support import kinds, sets


class TestSharedBlobs(sets.Everything):
    """A blob directory that server and client share."""

    kind = kinds.FILE_SHARED_BLOBS


class TestTransferredBlobs(sets.Everything):
    """Blobs that travel over the wire."""

    kind = kinds.FILE_TRANSFERRED_BLOBS


class TestTransferredBlobsRecovery(sets.Recovery):
    """From one FileStorage to another."""

    kind = kinds.FILE_TRANSFERRED_BLOBS
