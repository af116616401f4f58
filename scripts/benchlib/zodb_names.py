"""The names of ZODB, and of the packages it brings, that the jobs use.

Enters: nothing. Leaves: the names; None for each where ZODB is not installed, for a driver that
imports the jobs only to know their rows. Fails: never here; a worker imports ZODB itself first.
"""

from __future__ import annotations

try:
    import transaction
    import ZODB
    from BTrees.OOBTree import OOBTree
    from persistent.mapping import PersistentMapping
    from ZODB.Connection import TransactionMetaData
    from ZODB.FileStorage import FileStorage
    from ZODB.MappingStorage import MappingStorage
    from ZODB.POSException import ConflictError
    from ZODB.serialize import referencesf
    from ZODB.utils import p64, u64, z64
except ModuleNotFoundError:
    transaction = ZODB = OOBTree = PersistentMapping = TransactionMetaData = None
    FileStorage = MappingStorage = ConflictError = referencesf = p64 = u64 = z64 = None

__all__ = [
    'ZODB',
    'ConflictError',
    'FileStorage',
    'MappingStorage',
    'OOBTree',
    'PersistentMapping',
    'TransactionMetaData',
    'p64',
    'referencesf',
    'transaction',
    'u64',
    'z64',
]
