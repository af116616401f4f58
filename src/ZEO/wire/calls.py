"""The table of every message that has a name: who sends it, whether it wants an answer, and what it does.

Nothing enters or fails here; a session looks names up in :data:`OF_CLIENT` and :data:`OF_SERVER`.
"""
from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Does(Enum):
    """What a client's message does, which decides what a read-only server makes of it."""

    CONTROLS = 'controls'   # about the connection itself
    READS = 'reads'
    WRITES = 'writes'       # refused on a read-only connection


class Method(NamedTuple):
    """One row of the table."""

    name: str
    answered: bool
    does: Does


def _rows(does: Does, answered: bool, names: str) -> dict[str, Method]:
    return {name: Method(name, answered, does) for name in names.split()}


#: What a client may send.
OF_CLIENT: dict[str, Method] = {
    **_rows(Does.CONTROLS, True, 'register get_info server_status ping'),
    **_rows(Does.CONTROLS, False, 'set_client_label iterator_gc'),
    **_rows(Does.READS, True, '''
        lastTransaction getInvalidations loadBefore loadSerial getTid history undoLog undoInfo record_iternext
        iterator_start iterator_next iterator_record_start iterator_record_next sendBlob pack'''),
    **_rows(Does.READS, True, 'load_many iterator_batch'),   # of ours only, announced in get_info
    **_rows(Does.WRITES, True, 'new_oids vote tpc_finish tpc_abort'),
    **_rows(Does.WRITES, False, '''
        tpc_begin storea restorea checkCurrentSerialInTransaction deleteObject undoa
        storeBlobStart storeBlobChunk storeBlobEnd storeBlobShared'''),
    **_rows(Does.WRITES, False, 'restoreBlobEnd restoreBlobShared'),   # of ours only, announced in get_info
}

#: Calls that have to wait for a network where the storage is on another server.
MAY_WAIT = frozenset('''
    new_oids loadSerial getTid record_iternext
    iterator_start iterator_next iterator_record_start iterator_record_next'''.split())

#: What a server may send besides replies; none is answered.
OF_SERVER = frozenset('invalidateTransaction info receiveBlobStart receiveBlobChunk receiveBlobStop'.split())
