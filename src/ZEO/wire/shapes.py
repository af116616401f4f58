"""The shape of every answer of a server, and of its one-way messages.

Enters: the name of a call and what came as its answer; the name and arguments of a one-way message.
Leaves: nothing, or what was said, in one form. Fails: :class:`ProtocolError` for anything that an
application or a cache could not take as it is; :class:`UnrecognizedResult`, which is one too, where
that is an answer.

A faulty or hostile server is recognized here and nowhere else: behind this every type is what it
seems.
"""

from __future__ import annotations

from itertools import chain
from types import NoneType
from typing import Any

from ZEO.Exceptions import ProtocolError, UnrecognizedResult
from ZEO.wire.arguments import MOST_NAME
from ZEO.wire.extensions import EXTENSIONS, FOLLOWS, MESSAGE_SIZE, ROLE, STOPPING, WHOLE
from ZEO.wire.rows import (
    LIST_TYPES,
    LISTS,
    MAX_TID,
    Check,
    are_ids,
    are_ids_or_none,
    are_rows,
    is_id,
    is_tid,
    of_types,
)

_TEXTS = (bytes, str)


def is_loaded(value: Any) -> bool:
    """Return whether it is an answer to loadBefore: None, or a record with its tid and the tid that
    ended it, if any.
    """
    if value is None:
        return True
    if type(value) not in LISTS or len(value) != 3:
        return False
    data, tid, end = value
    return (
        type(data) is bytes and type(tid) is bytes and len(tid) == 8 and (end is None or is_id(end))
    )


def _is_tid_or_none(value: Any) -> bool:
    return value is None or is_tid(value)


def _is_bytes(value: Any) -> bool:
    return type(value) is bytes


def _is_number(value: Any) -> bool:
    return type(value) is int


def _is_short_text(value: Any) -> bool:
    return type(value) is str and len(value) <= MOST_NAME


def _is_dict(value: Any) -> bool:
    return type(value) is dict


def _are_dicts(value: Any) -> bool:
    return type(value) in LISTS and all(type(item) is dict for item in value)


def _are_texts(value: Any) -> bool:
    return type(value) in LISTS and all(type(item) is str for item in value)


def _are_loaded(value: Any) -> bool:
    if type(value) not in LISTS:
        return False
    return are_rows(
        [found for found in value if found is not None], of_types(bytes), are_ids, are_ids_or_none
    )


def _are_new_oids(value: Any) -> bool:
    return bool(value) and are_ids(value)


def _is_info(value: Any) -> bool:
    """What get_info answers, and of which an info brings news: what a client hands on, or looks at,
    is what it should be.
    """
    if (
        type(value) is dict
        and len(value) == 2
        and type(value.get('length')) is int
        and type(value.get('size')) is int
    ):
        return True  # as after each commit
    return (
        type(value) is dict
        and type(value.get('length', 0)) is int
        and type(value.get('size', 0)) in (int, float)
        and type(value.get(MESSAGE_SIZE)) in (int, type(None))
        and type(value.get(STOPPING, 0)) in (int, float)
        and _are_interfaces(value.get('interfaces', ()))
        and _are_names(value.get(EXTENSIONS, ()))
        and type(value.get(ROLE, '')) is str
        and type(value.get(FOLLOWS, False)) is type(value.get(WHOLE, False)) is bool
    )


def _are_interfaces(value: Any) -> bool:
    return type(value) in LISTS and all(
        type(item) in LISTS and len(item) == 2 and _are_names(item) for item in value
    )


def _are_names(value: Any) -> bool:
    return type(value) in LISTS and all(type(item) is str for item in value)


def _are_changes(value: Any) -> bool:
    """What getInvalidations answers: None, or the last tid and the oids that changed."""
    return value is None or (
        type(value) in LISTS and len(value) == 2 and is_tid(value[0]) and are_ids(value[1])
    )


def is_vote(value: Any) -> bool:
    """Return whether it is an answer to vote: None, or a list of oids and conflicts."""
    if not value:  # as mostly
        return value is None or type(value) in LISTS
    return type(value) in LISTS and all(is_id(item) or _is_conflict(item) for item in value)


def _is_conflict(value: Any) -> bool:
    """A conflict that the server leaves to its client."""
    if type(value) is not dict or value.keys() != {'oid', 'serials', 'data'}:
        return False
    serials = value['serials']
    return (
        is_id(value['oid'])
        and type(value['data']) is bytes
        and type(serials) in LISTS
        and len(serials) == 2
        and all(map(is_id, serials))
    )


def _is_current(value: Any) -> bool:
    """What record_iternext answers; what it calls the next record is not looked at, only given
    back.
    """
    return (
        type(value) in LISTS
        and len(value) == 4
        and is_id(value[0])
        and is_id(value[1])
        and type(value[2]) is bytes
        and type(value[3]) in (type(None), int, *_TEXTS)
    )


def _are_transactions(values: Any) -> bool:
    return are_rows(
        values,
        are_ids,
        of_types(*_TEXTS),
        of_types(*_TEXTS),
        of_types(*_TEXTS),
        of_types(bytes, dict),
    )


def _are_records(values: Any) -> bool:
    return are_rows(values, are_ids, are_ids, of_types(bytes, NoneType), are_ids_or_none)


def _is_transaction_or_none(value: Any) -> bool:
    return value is None or _are_transactions([value])


def _is_record_or_none(value: Any) -> bool:
    return value is None or _are_records([value])


def _is_batch(value: Any) -> bool:
    """Transactions, each described, with its records, and whether those are all; and whether that
    was the end.
    """
    return (
        type(value) in LISTS
        and len(value) == 2
        and type(value[1]) is bool
        and are_rows(value[0], _are_transactions, _are_lists_of_records, of_types(bool))
    )


def _are_lists_of_records(values: Any) -> bool:
    return {*map(type, values)} <= LIST_TYPES and _are_records([*chain.from_iterable(values)])


#: The call -> whether an answer to it has the shape of one, for every call that is answered; None
#: where the answer only says that something is done, and nothing looks at it.
ANSWERS: dict[str, Check | None] = {
    'scram_first': _is_short_text,
    'scram_final': _is_short_text,
    'register': _is_tid_or_none,
    'get_info': _is_info,
    'server_status': _is_dict,
    'lastTransaction': is_tid,
    'getInvalidations': _are_changes,
    'loadBefore': is_loaded,
    'load_many': _are_loaded,
    'loadSerial': _is_bytes,
    'getTid': is_id,
    'history': _are_dicts,
    'undoLog': _are_dicts,
    'undoInfo': _are_dicts,
    'record_iternext': _is_current,
    'iterator_start': _is_number,
    'iterator_next': _is_transaction_or_none,
    'iterator_record_start': _is_number,
    'iterator_record_next': _is_record_or_none,
    'iterator_batch': _is_batch,
    'follow': is_tid,
    'kick': _are_texts,
    'promote': is_tid,
    'new_oids': _are_new_oids,
    'vote': is_vote,
    'tpc_finish': is_tid,
    'commit_after': is_tid,
    **dict.fromkeys('ping sendBlob pack tpc_abort'.split()),
}


def answer(name: str, result: Any, where: str) -> Any:
    """Return what came as the answer to the call `name`.

    :param where: the server's address, for people.
    :raises UnrecognizedResult: when it does not have the shape of one.
    """
    check = ANSWERS.get(name)
    if check is None or check(result):
        return result
    raise UnrecognizedResult(
        f'{where} answered {name} with {_shown(result)}, which is not an answer to it: the server, '
        'or something between it and this client, is faulty'
    )


def loaded(result: Any) -> Any:
    """Return the answer to a loadBefore; the same as :func:`answer` for the hot path."""
    return result if is_loaded(result) else answer('loadBefore', result, 'the server')


def invalidation(args: Any) -> tuple[bytes, list[bytes]]:
    """Return the tid and the oids of an invalidateTransaction.

    :raises ProtocolError: when these are not its arguments.
    """
    if type(args) in LISTS and len(args) >= 2:
        tid, oids = args[0], args[1]
        # What most are is looked at here, which saves four calls.
        if type(oids) is list and len(oids) == 1 and type(tid) is bytes is type(oids[0]):
            if len(tid) == len(oids[0]) == 8 and tid <= MAX_TID:
                return tid, oids
        elif is_tid(tid) and are_ids(oids):
            return tid, list(oids)
    raise ProtocolError('the server sent an invalidateTransaction that is not a tid and oids')


def ahead(args: Any) -> tuple[list[Any], list[bytes]]:
    """Return the records of a readAhead, each with its oid and tid, and the oids that follow.

    :raises ProtocolError: when these are not its arguments.
    """
    if (
        type(args) in LISTS
        and len(args) == 2
        and are_rows(args[0], are_ids, of_types(bytes), are_ids)
        and are_ids(args[1])
    ):
        return args[0], args[1]
    raise ProtocolError('the server sent a readAhead that is not records and oids')


def news(args: Any) -> dict[str, Any]:
    """Return the dictionary of an `info`.

    :raises ProtocolError: when these are not its arguments.
    """
    if type(args) in LISTS and len(args) >= 1 and _is_info(args[0]):
        return args[0]
    raise ProtocolError('the server sent an info that is not a dictionary of figures')


def blob_part(name: str, args: Any) -> tuple[tuple[bytes, bytes], int | None, bytes]:
    """Return the oid and serial of a part of a blob, the length that is announced with the first,
    and the bytes of a chunk.

    :raises ProtocolError: when these are not the arguments of `name`.
    """
    length, chunk = None, b''
    good = type(args) in LISTS and len(args) >= 2 and is_id(args[0]) and is_id(args[1])
    if good and name == 'receiveBlobStart' and len(args) == 3:
        length = args[2]
        good = type(length) is int and length >= 0
    elif good and name == 'receiveBlobChunk':
        good = len(args) == 3 and type(args[2]) is bytes
        chunk = args[2] if good else b''
    elif good:
        good = len(args) == 2 and name in ('receiveBlobStart', 'receiveBlobStop')
    if not good:
        raise ProtocolError(f'the server sent a {name[:60]!r} that is not a part of a blob')
    return (args[0], args[1]), length, chunk


def _shown(value: Any) -> str:
    """What a wrong answer is, in a few words, whatever it holds."""
    if type(value) in (type(None), bool) or (type(value) is int and abs(value) < 2**64):
        return str(value)
    try:
        return f'a {type(value).__name__} of length {len(value)}'
    except TypeError:
        return f'a {type(value).__name__}'
