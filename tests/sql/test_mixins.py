"""ZODB's tests of storages, on clients of a server with a RelStorage.

What does not apply is named with its reason. The last classes are the same tests on a RelStorage
without a server between: what fails over a server fails there too, but for what its cache keeps,
and what fails only there is named as well. They and those that take seconds are slow ones.
"""

import functools
import os
import unittest
from collections.abc import Callable
from typing import ClassVar

import pytest
from ZODB.config import storageFromString
from ZODB.tests.StorageTestBase import StorageTestBase

from support import postgres, sets
from support.kinds import Kind
from support.served import Served

#: RelStorage undoes a transaction only if nothing has changed the objects since.
NO_RESOLUTION = dict.fromkeys(
    (
        'testUndoConflictResolution',
        'testUndoMultipleConflictResolution',
        'testUndoMultipleConflictResolutionReversed',
    ),
    'an undo resolves no conflicts',
)

WITH_HISTORY = {
    **NO_RESOLUTION,
    'testTransactionalUndoIterator': 'records do not say which transaction an undo has restored',
}

NO_OLD_RECORDS = 'there is only the last revision of each object'

#: RelStorage itself passes these, since an instance has in its cache what it has stored itself.
ONLY_FROM_A_CACHE = dict.fromkeys(
    (
        'testLoadSerial',
        'testPackAllRevisions',
        'testPackJustOldRevisions',
        'testPackOnlyOneObject',
    ),
    NO_OLD_RECORDS,
)

WITHOUT_HISTORY = {
    **ONLY_FROM_A_CACHE,
    **dict.fromkeys(
        (
            'testExtendedIteration',
            'testLoadBefore',
            'testLoadBeforeEdges',
            'testLoadBeforeOld',
            'testSimpleHistory',
            'testSimpleIteration',
            # they take no ReadConflictError, which a client that is behind gets then
            'test_race_external_invalidate_vs_disconnect',
            'test_race_load_vs_external_invalidate',
        ),
        NO_OLD_RECORDS,
    ),
    'testTransactionExtensionFromIterator': 'it keeps nothing of a transaction but its tid',
    'testUndoZombie': 'it has no undo',
}

SLOW = (
    'test2StorageThreads test2ZODBThreads test4ExtStorageThread test7StorageThreads '
    'test7ZODBThreads testNotUndoable testPackAfterUndoDeletion testPackAfterUndoManyTimes '
    'testPackLotsWhileWriting testPackNowWhileWriting testPackWhileWriting '
    'testPackWithMultiDatabaseReferences testRedundantPack test_race_load_vs_external_invalidate '
    'test_race_external_invalidate_vs_disconnect test_race_loadopen_vs_local_invalidate'
).split()


def without(reasons):
    """Leave tests out of a class, and mark those that are slow."""

    def change(cls):
        for name in reasons:
            assert hasattr(cls, name), name
            setattr(cls, name, None)
        for name in SLOW:
            test = getattr(cls, name, None)
            if test is not None:
                setattr(cls, name, pytest.mark.timeout(300)(pytest.mark.slow(_copy(test))))
        return cls

    return change


def _copy(test):
    @functools.wraps(test)
    def same(self):
        test(self)

    del same.__wrapped__
    return same


def postgresql(keep_history):
    """Return what makes a database, and the section of a RelStorage on it."""

    def conf(directory, blobs):
        cluster = postgres.cluster()
        return cluster.section(cluster.create_for(keep_history), keep_history)

    return conf


def sqlite(directory, blobs):
    """Return the section of a RelStorage in a directory."""
    return (
        '%import relstorage\n<relstorage>\n keep-history true\n'
        f' <sqlite3>\n  data-dir {directory}\n </sqlite3>\n</relstorage>\n'
    )


@without(WITH_HISTORY)
class TestHistory(sets.Everything):
    """PostgreSQL, with history."""

    kind = Kind(postgresql(True))


@without(WITHOUT_HISTORY)
class TestNoHistory(sets.Basics, sets.Iteration):
    """PostgreSQL, without."""

    kind = Kind(postgresql(False))


@pytest.mark.slow
@without(WITH_HISTORY)
class TestSqlite(sets.Everything):
    """SQLite, with history."""

    kind = Kind(sqlite)


class Direct(StorageTestBase):
    """The same tests on a RelStorage itself."""

    conf: ClassVar[Callable[[str, str], str]]

    def setUp(self):
        """Make a database."""
        super().setUp()
        os.makedirs('data')
        self._section = self.conf(os.path.abspath('data'), '')
        self.open()

    def open(self, read_only=False, **options):
        """Open the storage under test."""
        more = f'<relstorage>\n read-only {str(read_only).lower()}\n'
        self._storage = storageFromString(self._section.replace('<relstorage>', more))

    def _new_storage_client(self):
        storage = storageFromString(self._section)
        self.addCleanup(storage.close)
        return storage


def direct(tests, conf, fails):
    """Return a class of the tests that run over a server, on a RelStorage itself.

    :param tests: the class that runs over a server.
    :param fails: the names of those that fail, with the reasons.
    """
    bases = [
        base
        for base in tests.__mro__
        if base.__module__.startswith('ZODB.tests.') and base not in StorageTestBase.__mro__
    ]
    bases = [base for base in bases if not any(base in other.__mro__[1:] for other in bases)]
    given = {'conf': staticmethod(conf), 'use_extension_bytes': True}
    cls = type('Direct', (Direct, *bases), given)
    for name in [name for name in dir(cls) if name.startswith('test')]:
        test = getattr(cls, name)
        # by the real clock, which is the database's
        test = _copy(getattr(test, '__wrapped__', test))
        belongs = getattr(tests, name, None) is not None or name in fails
        if name in UNABLE:
            test = unittest.skip(UNABLE[name])(test)
        elif name in fails:
            test = unittest.expectedFailure(test)
        setattr(cls, name, test if belongs else None)
    return pytest.mark.timeout(300)(pytest.mark.slow(cls))


ONE_THREAD = 'an instance is for one thread at a time'

#: What a server passes, and RelStorage itself does not.
ONLY_BEHIND_A_SERVER = {
    **dict.fromkeys(
        ('test2StorageThreads', 'test4ExtStorageThread', 'test7StorageThreads'),
        ONE_THREAD,
    ),
    'test_checkCurrentSerialInTransaction': 'what an instance knows is as of its last poll',
}

#: A server passes these as well.
ONLY_FROM_A_CLIENT = {
    # of this its clients have an old record in their caches, up to the next transaction
    'testLoadBeforeConsecutiveTids': NO_OLD_RECORDS,
    'testWriteMethods': 'it has no undo that could be refused',
}

#: These cannot be compared.
UNABLE = {
    'test_race_external_invalidate_vs_disconnect': 'its clients reconnect, which instances do not',
    'test_tid_ordering_w_commit': ONE_THREAD,
}

TestDirectHistory = direct(TestHistory, postgresql(True), {**WITH_HISTORY, **ONLY_BEHIND_A_SERVER})
TestDirectNoHistory = direct(
    TestNoHistory,
    postgresql(False),
    {
        **{name: why for name, why in WITHOUT_HISTORY.items() if name not in ONLY_FROM_A_CACHE},
        **ONLY_BEHIND_A_SERVER,
        **ONLY_FROM_A_CLIENT,
    },
)
TestDirectSqlite = direct(TestSqlite, sqlite, {**WITH_HISTORY, **ONLY_BEHIND_A_SERVER})


def test_no_test_is_left_out_without_a_reason():
    for cls, reasons in ((TestHistory, WITH_HISTORY), (TestNoHistory, WITHOUT_HISTORY)):
        gone = {
            name
            for name in dir(cls)
            if name.startswith('test')
            and getattr(cls, name) is None
            and not any(vars(base).get(name, 0) is None for base in (sets.Basics, Served))
        }
        assert gone == set(reasons)
