"""What ZODB's own tests do to a storage, a replica of it has, byte for byte; and a promoted one
passes them as well.
"""

import os
import unittest

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.tests import IteratorStorage, TransactionalUndoStorage
from ZODB.tests.BasicStorage import BasicStorage
from ZODB.tests.ConflictResolution import (
    ConflictResolvingStorage,
    ConflictResolvingTransUndoStorage,
)
from ZODB.tests.HistoryStorage import HistoryStorage
from ZODB.tests.MTStorage import MTStorage
from ZODB.tests.PackableStorage import PackableUndoStorage
from ZODB.tests.RevisionStorage import RevisionStorage
from ZODB.tests.StorageTestBase import StorageTestBase

import ZEO
from support.replicas import LONG, Site
from ZEO.replica import state_file


class Mixins(
    IteratorStorage.ExtendedIteratorStorage,
    TransactionalUndoStorage.TransactionalUndoStorage,
    ConflictResolvingStorage,
    ConflictResolvingTransUndoStorage,
    PackableUndoStorage,
    HistoryStorage,
    RevisionStorage,
):
    """Those that undo, iterate, resolve conflicts and pack."""


class TestReplicaOfWhatTheyDo(StorageTestBase, Mixins, unittest.TestCase):
    """The storage is a FileStorage; in the end a replica copies it."""

    def setUp(self):
        super().setUp()
        self._storage = FileStorage('primary.fs', blob_dir='primary.blobs')

    def open(self, **options):
        self._storage = FileStorage('primary.fs', blob_dir='primary.blobs', **options)

    def tearDown(self):
        site = Site(os.getcwd())
        try:
            if not self._storage._file.closed and not self._storage.isReadOnly():
                server = site.serve(self._storage)
                assert site.replica(server.addr).wait_until_following(LONG)
                assert site.same_files()
        finally:
            site.close()
            super().tearDown()


@pytest.mark.slow
class TestPromotedReplica(StorageTestBase, BasicStorage, MTStorage, Mixins, unittest.TestCase):
    """A replica that was promoted is a FileStorage like any other."""

    def setUp(self):
        super().setUp()
        state_file.write('replica.fs', state_file.Remembered(state_file.PROMOTED))
        self.open()

    def open(self, **options):
        if options.pop('read_only', False):
            self._storage = FileStorage('replica.fs', read_only=True)
        else:
            self._storage = ZEO.Replica(('127.0.0.1', 1), 'replica.fs', blob_dir='blobs')
