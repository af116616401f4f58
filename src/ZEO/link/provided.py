"""Which of ZODB's interfaces a client provides: those of its server's storage, as far as they can be had over the wire.

Enters: names of interfaces, as get_info has them.  Leaves: the interfaces.  Fails: never; unknown names are passed over.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ZODB import interfaces

_REMOTE = {interface.__name__: interface for interface in (
    interfaces.IStorageUndoable, interfaces.IStorageIteration, interfaces.IStorageRestoreable,
    interfaces.IStorageCurrentRecordIteration, interfaces.IBlobStorage, interfaces.IBlobStorageRestoreable,
    interfaces.IExternalGC)}


def provided(names: Iterable[tuple[str, str]], has_blobs: bool) -> list[Any]:
    """Return the interfaces to provide.

    :param names: (module, name) of each interface of the server's storage.
    :param has_blobs: whether the client has a blob directory.
    """
    known = [_REMOTE[name] for module, name in names if module == 'ZODB.interfaces' and name in _REMOTE]
    return [interface for interface in known if has_blobs or not interface.isOrExtends(interfaces.IBlobStorage)]
