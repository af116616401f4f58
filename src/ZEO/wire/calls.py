"""The table of every message that has a name: who sends it, whether it wants an answer, what it
does, and its arguments.

Nothing enters or fails here; a session looks names up in :data:`OF_CLIENT` and :data:`OF_SERVER`.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ZEO.wire.arguments import Arguments, arguments


class Does(Enum):
    """What a client's message does, which decides what a read-only server makes of it."""

    CONTROLS = 'controls'  # about the connection itself
    READS = 'reads'
    WRITES = 'writes'  # refused on a read-only connection


class Method(NamedTuple):
    """One row of the table."""

    name: str
    answered: bool
    does: Does
    arguments: Arguments


def _rows(does: Does, answered: bool, lines: str) -> dict[str, Method]:
    """One row for each line: a call's name and its arguments, of the kinds of
    :mod:`ZEO.wire.arguments`.
    """
    rows = [line.partition(':') for line in lines.strip().splitlines()]
    return {
        name.strip(): Method(name.strip(), answered, does, arguments(kinds))
        for name, _, kinds in rows
    }


#: What a client may send. Those of ours only, which get_info announces: load_many, iterator_batch,
#: restoreBlob...
OF_CLIENT: dict[str, Method] = {
    **_rows(
        Does.CONTROLS,
        True,
        """
        register: any flag any? any?
        get_info:
        server_status:
        ping:
        """,
    ),
    **_rows(
        Does.CONTROLS,
        False,
        """
        set_client_label: text
        iterator_gc: counts
        """,
    ),
    **_rows(
        Does.READS,
        True,
        """
        lastTransaction:
        getInvalidations: tid
        loadBefore: oid tid
        loadSerial: oid tid
        load_many: oids tid
        getTid: oid
        history: oid count
        undoLog: count count
        undoInfo: count? count? any?
        record_iternext: cursor?
        iterator_start: tid_or_none tid_or_none
        iterator_next: count
        iterator_record_start: count tid
        iterator_record_next: count
        iterator_batch: count
        sendBlob: oid tid flag?
        pack: number flag?
        """,
    ),
    **_rows(
        Does.WRITES,
        True,
        """
        new_oids: count?
        vote: any
        tpc_finish: any
        tpc_abort: any
        """,
    ),
    **_rows(
        Does.WRITES,
        False,
        """
        tpc_begin: new_transaction text text any tid_or_none? text?
        storea: oid serial bytes transaction
        restorea: oid serial bytes_or_none previous transaction
        checkCurrentSerialInTransaction: oid serial transaction
        deleteObject: oid serial transaction
        undoa: name transaction
        storeBlobStart:
        storeBlobChunk: bytes
        storeBlobEnd: oid serial bytes transaction
        storeBlobShared: oid serial bytes file_name transaction
        restoreBlobEnd: oid serial bytes_or_none previous transaction
        restoreBlobShared: oid serial bytes_or_none previous file_name transaction
        """,
    ),
}

#: Calls that are made in a worker thread where the storage is on another server, since they may
#: have to wait for it.
MAY_WAIT = frozenset(
    """
    new_oids loadSerial getTid record_iternext sendBlob iterator_gc
    iterator_start iterator_next iterator_record_start iterator_record_next iterator_batch
    """.split()
)

#: Calls that see to that by themselves: only a part of them waits, or they are slow with other
#: storages too.
ANSWERS_LATER = frozenset(
    """
    ping getInvalidations loadBefore load_many history undoLog undoInfo pack vote
    tpc_finish tpc_abort""".split()
)

#: All others are done by what the server knows itself: a storage on another server answers
#: `lastTransaction`, its size and its name from what it was told last, and the parts of a
#: transaction are kept until its vote.

#: What a server may send besides replies; none is answered.
OF_SERVER = frozenset(
    'invalidateTransaction info receiveBlobStart receiveBlobChunk receiveBlobStop'.split()
)
