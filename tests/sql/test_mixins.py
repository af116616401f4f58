"""ZODB's tests of storages, on clients of a server with a RelStorage.

What does not apply is named with its reason, and fails in the same way on a RelStorage without a
server between, but for what its cache keeps: the last classes show that. Those that take seconds
are slow ones.
"""

import functools
import unittest

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
            'testSimpleHistory',
            'testSimpleIteration',
            'test_race_external_invalidate_vs_disconnect',
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

    keep_history = True

    def setUp(self):
        """Make a database."""
        super().setUp()
        self._name = postgres.cluster().create_for(self.keep_history)
        self.open()

    def open(self, read_only=False, **options):
        """Open the storage under test."""
        section = postgres.cluster().section(
            self._name, self.keep_history, f'read-only {str(read_only).lower()}'
        )
        self._storage = storageFromString(section)


def direct(tests, reasons, keep_history):
    """Return a class of the tests that are left out above, each of which must fail."""
    bases = [
        base
        for base in tests.__mro__
        if base.__module__.startswith('ZODB.tests.') and base not in StorageTestBase.__mro__
    ]
    bases = [base for base in bases if not any(base in other.__mro__[1:] for other in bases)]
    cls = type('Direct', (Direct, *bases), {'keep_history': keep_history})
    for name in dir(cls):
        if name.startswith('test'):
            setattr(cls, name, _copy(getattr(cls, name)) if name in reasons else None)
            if name in reasons:
                setattr(cls, name, unittest.expectedFailure(getattr(cls, name)))
    return pytest.mark.slow(cls)


#: Fails directly for another reason: its client is one that reconnects.
_RACE = 'test_race_external_invalidate_vs_disconnect'

TestDirectHistory = direct(sets.Everything, WITH_HISTORY, True)
TestDirectNoHistory = direct(
    type('Both', (sets.Basics, sets.Iteration), {'kind': Kind(sqlite)}),
    WITHOUT_HISTORY.keys() - ONLY_FROM_A_CACHE.keys() - {_RACE},
    False,
)


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
