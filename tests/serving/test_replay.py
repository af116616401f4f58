"""A transaction that is given to a database once more when it has lost a conflict."""

from types import SimpleNamespace

import pytest
from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError
from ZODB.utils import p64

from ZEO.serving.commit.operations import Store
from ZEO.serving.commit.phases import PREPARING
from ZEO.serving.commit.replay import replay

OID, OTHER = p64(1), p64(2)
OLDER, CURRENT, NEWER = p64(10), p64(20), p64(30)


class Log(list):
    """The operations of a transaction."""

    add = list.append

    def again(self):
        """Return all."""
        return list(self)


class Commit(SimpleNamespace):
    """A transaction, as far as it matters here."""

    def __init__(self, *operations):
        super().__init__(
            log=Log(operations),
            superseded=set(),
            conflicts=[],
            changed={},
            phase=PREPARING,
            is_voted=False,
            tid=None,
            transaction=object(),
            given=dict,
            note_new_serials=lambda oids: None,
        )


class Instance:
    """A database that answers each vote as it is told to.

    :param votes: what each vote raises; None: the transaction is voted for.
    :param seen: what each look at the current record finds.
    """

    def __init__(self, votes, seen=()):
        self._votes, self._seen = list(votes), list(seen)
        self.stored = {}

    def tpc_begin(self, transaction, *more):
        """Begin anew."""
        self.stored = {}

    def store(self, oid, serial, data, version, transaction):
        """Take a record."""
        self.stored[oid] = serial, data

    def tpc_vote(self, transaction):
        """Vote as told."""
        error = self._votes.pop(0)
        if error is not None:
            raise error

    def tpc_abort(self, transaction):
        """Give it up."""

    def loadBefore(self, oid, tid):
        """Return a record with the tid that is to be seen."""
        return b'', self._seen.pop(0), None


@pytest.fixture
def ways():
    """Resolves by writing down what was resolved."""
    return SimpleNamespace(
        refresh=lambda instance: None,
        resolver=lambda instance: lambda oid, committed, old, data: data + committed[-1:],
        begins_fresh=False,
        has_changed=lambda oid, since: False,
    )


def lost(committed, old):
    """Return what a database raises when it finds a conflict."""
    return ConflictError(oid=OID, serials=(committed, old))


def test_a_conflict_is_resolved_and_all_is_given_once_more(ways):
    commit = Commit(Store(OID, OLDER, b'data'), Store(OTHER, OLDER, b'other'))
    instance = Instance([lost(CURRENT, OLDER), lost(NEWER, CURRENT), None])
    replay(commit, instance, ways)
    assert commit.is_voted
    assert instance.stored == {
        OID: (NEWER, b'data' + CURRENT[-1:] + NEWER[-1:]),
        OTHER: (OLDER, b'other'),
    }


def test_a_record_is_stored_although_a_cache_said_that_an_older_one_was_current(ways):
    """The conflict that it seemed to have is resolved, and that which it has then leads back."""
    commit = Commit(Store(OID, CURRENT, b'data'), Store(OTHER, OLDER, b'other'))
    votes = [TransientError('the cache is inconsistent'), lost(CURRENT, OLDER), None]
    instance = Instance(votes, seen=[OLDER, OLDER])
    replay(commit, instance, ways)
    assert commit.is_voted
    assert instance.stored == {
        OID: (CURRENT, b'data' + OLDER[-1:] + CURRENT[-1:]),
        OTHER: (OLDER, b'other'),
    }


def test_a_database_that_stays_inconsistent_ends_it(ways):
    commit = Commit(Store(OID, CURRENT, b'data'))
    conflicts = [lost(NEWER, CURRENT), lost(CURRENT, NEWER)] * 3
    errors = [TransientError('the cache is inconsistent')] * 4
    instance = Instance(conflicts + errors, seen=[CURRENT] * 10)
    with pytest.raises(TransientError, match='inconsistent'):
        replay(commit, instance, ways)
    assert not instance._votes
