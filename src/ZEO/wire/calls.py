"""The table of every message that has a name: what it does, whether it is answered, its arguments.

Enters: nothing. Leaves: two tables, :data:`OF_CLIENT` for what servers accept and
:data:`OF_SERVER` for what clients accept. Fails: never.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ZEO.wire.arguments import Arguments, arguments


class Does(Enum):
    """What a client's message does, which decides the right that it needs."""

    CONTROLS = 'controls'  # the connection itself
    READS = 'reads'
    WRITES = 'writes'  # refused on a read-only connection
    ADMINISTERS = 'administers'  # also on a read-only connection


class Waits(Enum):
    """How a call waits where the storage is on a network, as one that is a client itself."""

    NEVER = '-'
    IN_WORKER = 'worker'  # the whole call is made in a worker thread
    #: The call handles that itself: only a part of it waits, or it is slow with any storage.
    ITSELF = 'itself'


class Method(NamedTuple):
    """One row of the table."""

    name: str
    does: Does
    answered: bool  # whether clients wait for an answer
    waits: Waits
    #: Whether its answer is sent before changes that other threads have reported meanwhile, see
    #: :mod:`ZEO.serving.answers`.
    goes_first: bool
    arguments: Arguments


def _table(text: str) -> dict[str, Method]:
    """Return the rows of a table, by name; the columns are divided by blanks."""
    rows = [_row(*line.split(maxsplit=4)) for line in text.strip().splitlines()]
    return {row.name: row for row in rows}


def _row(name: str, does: str, answer: str, waits: str, kinds: str = '') -> Method:
    return Method(
        name,
        Does(does),
        answer != '-',
        Waits(waits),
        answer == 'first',
        arguments(kinds),
    )


#: What a client may send: the name; what it does; whether it is answered, and whether the answer
#: goes first; how it waits; its arguments, of the kinds of :mod:`ZEO.wire.arguments`. Those that
#: belong to :mod:`ZEO.wire.extensions` are load_many, used_ahead, iterator_batch, restoreBlob...,
#: commit_after, follow, replicated and promote; only commands call kick.
OF_CLIENT: dict[str, Method] = _table("""
    scram_first                     controls    answered -       short_text
    scram_final                     controls    answered -       short_text
    register                        controls    first    -       any flag any? any?
    get_info                        controls    answered -
    server_status                   controls    answered -
    ping                            controls    answered itself
    set_client_label                controls    -        -       text
    lastTransaction                 reads       answered -
    getInvalidations                reads       answered itself  tid
    loadBefore                      reads       first    itself  oid tid
    load_many                       reads       first    itself  oids tid
    used_ahead                      reads       -        -       oids
    loadSerial                      reads       answered worker  oid tid
    getTid                          reads       answered worker  oid
    history                         reads       answered itself  oid count
    undoLog                         reads       answered itself  count count
    undoInfo                        reads       answered itself  count? count? any?
    record_iternext                 reads       answered worker  cursor?
    iterator_start                  reads       answered worker  tid_or_none tid_or_none
    iterator_next                   reads       answered worker  count
    iterator_record_start           reads       answered worker  count tid
    iterator_record_next            reads       answered worker  count
    iterator_batch                  reads       answered worker  count
    iterator_gc                     controls    -        worker  counts
    sendBlob                        reads       answered worker  oid tid flag?
    follow                          reads       answered -       short_text
    replicated                      reads       -        -       tid
    kick                            administers answered -       text
    promote                         administers answered itself
    pack                            administers answered itself  number flag?
    new_oids                        writes      answered worker  count?
    tpc_begin                       writes      -        -       new_transaction text text any tid_or_none? text?
    storea                          writes      -        -       oid serial bytes transaction
    restorea                        writes      -        -       oid serial bytes_or_none previous transaction
    checkCurrentSerialInTransaction writes      -        -       oid serial transaction
    deleteObject                    writes      -        -       oid serial transaction
    undoa                           writes      -        -       name transaction
    storeBlobStart                  writes      -        -
    storeBlobChunk                  writes      -        -       bytes
    storeBlobEnd                    writes      -        -       oid serial bytes transaction
    storeBlobShared                 writes      -        -       oid serial bytes short_text transaction
    restoreBlobEnd                  writes      -        -       oid serial bytes_or_none previous transaction
    restoreBlobShared               writes      -        -       oid serial bytes_or_none previous short_text transaction
    vote                            writes      answered itself  any
    tpc_finish                      writes      answered itself  any
    tpc_abort                       writes      answered itself  any
    commit_after                    writes      answered itself  any any?
""")  # noqa: E501

# A call that never waits needs only what the server knows itself: a storage on another server
# answers `lastTransaction`, its size and its name from the last report of that server, and the
# parts of a transaction are kept until its vote.

#: What a server may send besides replies; none is answered.
OF_SERVER = frozenset(
    'invalidateTransaction info readAhead receiveBlobStart receiveBlobChunk receiveBlobStop'.split()
)
