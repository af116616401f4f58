"""What ZODB connections hold in memory, compared with the database.

Enters: connections whose transactions have begun; the storage behind the server. Leaves: nothing
where all is right. Fails: AssertionError for an object that is not the one of the snapshot that its
connection claims to read.
"""

from ZODB.utils import oid_repr, tid_repr


def check_snapshot(connection, storage):
    """What a connection has in memory is what was current just before its snapshot's end."""
    before = connection._storage._start
    for oid, obj in list(connection._cache.items()):
        if obj._p_changed is None:  # a ghost
            continue
        where = f'{oid_repr(oid)} at {tid_repr(before)}'
        assert not obj._p_changed, f'{where} has changes of a transaction that is over'
        found = storage.loadBefore(oid, before)
        assert found is not None, f'{where} is not in the database'
        assert obj._p_serial == found[1], (
            f'{where}: of {tid_repr(obj._p_serial)}, and not of {tid_repr(found[1])}'
        )
        assert obj.__getstate__() == connection._reader.getState(found[0]), where
