"""Checks of a peer's pickle before the unpickler sees it: a walk over its opcodes, in linear time.

Enters: the bytes of a message. Leaves: nothing. Fails: :class:`ProtocolError` for bytes that are
not a pickle, and for a pickle that would harm this process. The unpickler makes its memo as large
as the largest index that it meets, hashes nested tuples recursively, compares all keys whose hashes
are equal, and makes two hundred bytes of one; a value that holds another many times, on many
levels, takes too long to look through. Each would let a few bytes take down the process, or stop it
for minutes.
"""

from __future__ import annotations

import re
import struct

from ZEO.Exceptions import ProtocolError
from ZEO.wire.key_checks import check_keys
from ZEO.wire.late_pattern import LatePattern
from ZEO.wire.opcode_steps import KEY_TAKERS, STEPS, TUPLE_MAKERS, over_argument, too_early

#: Tuples of a request, which nests a few; hashing thousands of nested ones overruns the C stack.
MAX_TUPLES = 1000

#: Opcodes of a request; a thousand oids or an extension have fewer.
MAX_PARTS = 20_000

#: Opcodes of a message before register, which holds a name and a flag.
FIRST_PARTS = 64

#: The opcode that makes two hundred bytes of one.
EMPTY_SET = 0x8F

#: Bytes; a shorter message that does not use the memo can do no harm.
SHORT = 1000

#: Opcodes without which a short pickle can do no harm: they put a value into the memo, or on the
#: stack once more.
_MEMO = re.compile(rb'[2qr\x94]|p[\s\d+_-]')

#: Opcodes that no message before register has. Globals are refused by the unpickler, which can
#: name them.
_NOT_AT_FIRST = frozenset(b'}dsu\x8f\x90\x91')

#: A run of oids, matched in a few nanoseconds each.
_OIDS = re.compile(rb'(?:C\x08.{8}){1,500}', re.DOTALL)


def strings(opcode: bytes, width: bytes = b'', last: int = 255) -> bytes:
    """Return a pattern of short strings, with one alternative for each length: the regular
    expression needs one step for a string instead of one for each of its bytes.
    """
    return b'%b(?:%b)' % (
        opcode,
        b'|'.join(re.escape(bytes([size])) + width + b'.{%d}' % size for size in range(last + 1)),
    )


def run_of(*patterns: bytes) -> LatePattern:
    """Return a pattern of many of these in any order; the engine frees what it remembers of each
    after a run.
    """
    return LatePattern(b'(?:%b){1,500}' % b'|'.join(patterns))


#: Most of a long answer, which can do no harm: it has no keys, and takes a few bytes of memory for
#: each of its own.
_RUN = run_of(
    rb'Nt\(C\x08.{8}C\x08.{8}',
    rb'C\x08.{8}',
    rb'[N(t\x88\x89)ae\x85-\x87\]}]',
    rb'K.',
    rb'M..',
    rb'J....',
    strings(b'X', rb'\0\0\0'),
    strings(b'C'),
    rb'G.{8}',
)

#: The end of one record of an iterator and the next one up to its bytes, with their length. This
#: takes half the time of a run, and is most of such an answer.
_NEXT_RECORD = struct.Struct('<5s8x2s8xBI')

#: The same for records in an answer to load_many.
_NEXT_LOADED = struct.Struct('<2s8x2sBI')

#: The beginning of nearly every message of a server, with the length of a record that may follow.
_HEAD = re.compile(
    rb'\x80\x03\((?:K.|M..|J....)(?:K.|[\x88\x89])X(?:\x06\0\0\0\.reply|\x15\0\0\0invalidateTransaction)'
    rb'(?:C(.)|B(.{4}))?',
    re.DOTALL,
)


def check(data: bytes | bytearray, most: int = MAX_PARTS) -> None:
    """Check a request.

    :param most: opcodes that it may have.
    :raises ProtocolError: when it could do harm or is not a pickle.
    """
    if len(data) < SHORT and not _MEMO.search(data):  # each tuple takes a byte
        return
    _walk(data, most, frozenset())


def check_first(data: bytes | bytearray) -> None:
    """Check a message of a client that has not registered.

    :raises ProtocolError: when it could do harm or is not a pickle.
    """
    _walk(data, FIRST_PARTS, _NOT_AT_FIRST)


def check_answer(data: bytes | bytearray) -> None:
    """Check a message of a server, which may be long, many opcodes at a time.

    :raises ProtocolError: when it could do harm or is not a pickle.
    """
    head, position = _HEAD.match(data), 0
    if head is not None:
        size = head.lastindex
        position = head.end()
        if size is not None:
            position += int.from_bytes(head[size], 'little')
    if len(data) - position >= SHORT or _MEMO.search(data, position):
        _walk_answer(data, position)


def _walk_answer(data: bytes | bytearray, position: int) -> None:
    end, takes_keys = len(data), False
    harmless = _RUN.match
    try:
        while True:
            run = harmless(data, position)
            if run is not None:
                position = run.end()
            opcode = data[position]
            position += 1
            if opcode == 66:  # 'B', bytes, as most records
                position = _over_records(
                    data, position + 4 + int.from_bytes(data[position : position + 4], 'little')
                )
                if data[position : position + 2] == b'C\x08':
                    position = _over_loaded(data, position)
                continue
            if opcode == 46:
                break
            if opcode in KEY_TAKERS:
                takes_keys = True
            elif opcode == EMPTY_SET:
                raise ProtocolError('a message with a set, which servers do not send')
            step = STEPS[opcode]
            position = position + step if step >= 0 else over_argument(step, data, position, end)
    except (IndexError, ValueError, OverflowError):
        raise too_early() from None
    if takes_keys:
        check_keys(data)


def _over_records(data: bytes | bytearray, position: int) -> int:
    """Return the position behind records of an iterator that follow the bytes of one, if any."""
    parts_at, size = _NEXT_RECORD.unpack_from, _NEXT_RECORD.size
    try:
        while True:
            head, serial, opcode, length = parts_at(data, position)
            if head != b'Nt(C\x08' or serial != b'C\x08':
                return position
            if opcode == 66:
                position += size + length
            elif opcode == 67:  # 'C', of whose length there is one byte
                position += size - 3 + (length & 255)
            else:
                return position
    except struct.error:  # it ends before that
        return position


def _over_loaded(data: bytes | bytearray, position: int) -> int:
    """Return the position behind current records of load_many that follow, if any."""
    parts_at, size = _NEXT_LOADED.unpack_from, _NEXT_LOADED.size
    try:
        while True:
            tid, end, opcode, length = parts_at(data, position)
            if tid != b'C\x08' or end != b'N\x87':
                return position
            if opcode == 66:
                position += size + length
            elif opcode == 67:
                position += size - 3 + (length & 255)
            else:
                return position
    except struct.error:  # it ends before that
        return position


def _walk(data: bytes | bytearray, most: int, refused: frozenset[int]) -> None:
    position, end, tuples, left, takes_keys = 0, len(data), 0, most, False
    try:
        while (opcode := data[position]) != 46:  # '.', the end
            left -= 1
            if left < 0 or opcode in refused:
                raise ProtocolError(
                    f'a message of more than {most} parts, or with parts that do not belong there'
                )
            if opcode == 67 and (run := _OIDS.match(data, position)) is not None:
                left -= (run.end() - position) // 10 - 1
                position = run.end()
                continue
            position += 1
            step = STEPS[opcode]
            if step >= 0:
                position += step
                if opcode in TUPLE_MAKERS:
                    tuples += 1
                if opcode in KEY_TAKERS:
                    takes_keys = True
            else:
                position = over_argument(step, data, position, end)
    except (IndexError, ValueError, OverflowError):
        raise too_early() from None
    if tuples > MAX_TUPLES:
        raise ProtocolError(
            f'a message made of {tuples} tuples, when at most {MAX_TUPLES} are accepted'
        )
    if takes_keys:
        check_keys(data)
