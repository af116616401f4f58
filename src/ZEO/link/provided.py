"""Which of ZODB's interfaces a client provides: those of its storage that work over the wire.

Enters: names of interfaces, as get_info has them. Leaves: the interfaces. Fails: never; unknown
names are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ZODB import interfaces

_REMOTE = {
    interface.__name__: interface
    for interface in (
        interfaces.IStorageUndoable,
        interfaces.IStorageIteration,
        interfaces.IStorageRestoreable,
        interfaces.IStorageCurrentRecordIteration,
        interfaces.IBlobStorage,
        interfaces.IBlobStorageRestoreable,
        interfaces.IExternalGC,
    )
}


def provided(names: Iterable[tuple[str, str]]) -> list[Any]:
    """Return the interfaces to provide.

    Those of blobs too for a client without a blob directory, as in the first release: its errors
    then say what to do.

    :param names: (module, name) of each interface of the server's storage.
    """
    return [
        _REMOTE[name] for module, name in names if module == 'ZODB.interfaces' and name in _REMOTE
    ]
