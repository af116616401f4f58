"""Checks of a peer's pickle before the unpickler sees it: a walk over its opcodes, in linear time.

Enters: the bytes of a message. Leaves: nothing. Fails: :class:`ProtocolError` for bytes that are
not a pickle, and for a pickle that would harm this process. The unpickler makes its memo as large
as the largest index that it meets, hashes nested tuples recursively, compares all keys whose hashes
are equal, and makes two hundred bytes of one; a value that holds another many times, on many
levels, takes too long to look through. Each would let a few bytes take down the process, or stop it
for minutes.
"""

from __future__ import annotations

import pickletools
import re
import struct

from ZEO.Exceptions import ProtocolError

#: Tuples of a request, which nests a few; hashing thousands of nested ones overruns the C stack.
MAX_TUPLES = 1000

#: Opcodes of a request; a thousand oids or an extension have fewer.
MAX_PARTS = 20_000

#: Opcodes of a message before register, which holds a name and a flag.
FIRST_PARTS = 64

#: Keys of dictionaries and items of sets, besides texts and bytes, whose hashes a peer cannot
#: choose, and small numbers, which are their own hash.
MAX_ODD_KEYS = 100

#: Levels of nesting of such a key.
_KEY_DEPTH = 20

#: The opcode that makes two hundred bytes of one.
EMPTY_SET = 0x8F

#: Bytes; a shorter message that does not use the memo can do no harm.
SHORT = 1000

#: Places in the unpickler's memo, which it makes as large as the largest index; peers use none.
_MEMO_SIZE = 100_000

#: Opcodes without which a short pickle can do no harm: they put a value into the memo, or on the
#: stack once more.
_MEMO = re.compile(rb'[2qr\x94]|p[\s\d+_-]')

_TUPLE_MAKERS = frozenset(b'\x85\x86\x87t\x91R\x81\x92o')

#: Opcodes that put keys into dictionaries, or items into sets.
_KEY_TAKERS = frozenset(b'sud\x90\x91')

#: Opcodes that no message before register has. Globals are refused by the unpickler, which can
#: name them.
_NOT_AT_FIRST = frozenset(b'}dsu\x8f\x90\x91')

#: Opcodes that no peer writes. Those that use an object a second time would let a few bytes stand
#: for any number of objects.
_REFUSED = frozenset(
    'GET BINGET LONG_BINGET DUP PUT PERSID EXT1 EXT2 EXT4 NEXT_BUFFER READONLY_BUFFER'.split()
)

_FORBIDDEN, _COUNTED_1, _COUNTED_4, _COUNTED_8, _LINE, _LINES, _MEMO_4 = -1, -2, -3, -4, -5, -6, -7


def _steps() -> list[int]:
    """Return for every opcode the bytes of its argument, or a negative constant from above."""
    kinds = {
        'uint1': 1,
        'uint2': 2,
        'int4': 4,
        'uint4': 4,
        'uint8': 8,
        'float8': 8,
        'string1': _COUNTED_1,
        'bytes1': _COUNTED_1,
        'long1': _COUNTED_1,
        'unicodestring1': _COUNTED_1,
        'string4': _COUNTED_4,
        'bytes4': _COUNTED_4,
        'long4': _COUNTED_4,
        'unicodestring4': _COUNTED_4,
        'bytes8': _COUNTED_8,
        'unicodestring8': _COUNTED_8,
        'bytearray8': _COUNTED_8,
        'decimalnl_short': _LINE,
        'decimalnl_long': _LINE,
        'floatnl': _LINE,
        'stringnl_noescape_pair': _LINES,
    }
    steps = [_FORBIDDEN] * 256
    for opcode in pickletools.opcodes:
        if opcode.name not in _REFUSED:
            steps[ord(opcode.code)] = kinds.get(opcode.arg.name, _FORBIDDEN) if opcode.arg else 0
    steps[ord('r')] = _MEMO_4
    return steps


_STEPS = _steps()

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


def run_of(*patterns: bytes) -> re.Pattern[bytes]:
    """Return a pattern of many of these in any order; the engine frees what it remembers of each
    after a run.
    """
    return re.compile(b'(?:%b){1,500}' % b'|'.join(patterns), re.DOTALL)


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
            if opcode in _KEY_TAKERS:
                takes_keys = True
            elif opcode == EMPTY_SET:
                raise ProtocolError('a message with a set, which servers do not send')
            step = _STEPS[opcode]
            position = position + step if step >= 0 else _over_argument(step, data, position, end)
    except (IndexError, ValueError, OverflowError):
        raise _too_early() from None
    if takes_keys:
        _check_keys(data)


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
            step = _STEPS[opcode]
            if step >= 0:
                position += step
                if opcode in _TUPLE_MAKERS:
                    tuples += 1
                if opcode in _KEY_TAKERS:
                    takes_keys = True
            else:
                position = _over_argument(step, data, position, end)
    except (IndexError, ValueError, OverflowError):
        raise _too_early() from None
    if tuples > MAX_TUPLES:
        raise ProtocolError(
            f'a message made of {tuples} tuples, when at most {MAX_TUPLES} are accepted'
        )
    if takes_keys:
        _check_keys(data)


def _too_early() -> ProtocolError:
    return ProtocolError('a message that is not a pickle: it ends too early')


def _over_argument(step: int, data: bytes | bytearray, position: int, end: int) -> int:
    if step == _COUNTED_1:
        return position + 1 + data[position]
    if step == _COUNTED_4:
        return position + 4 + int.from_bytes(data[position : position + 4], 'little')
    if step == _COUNTED_8:
        return position + 8 + int.from_bytes(data[position : position + 8], 'little')
    if step == _LINE:
        return data.index(b'\n', position) + 1
    if step == _LINES:
        return data.index(b'\n', data.index(b'\n', position) + 1) + 1
    if step == _MEMO_4 and int.from_bytes(data[position : position + 4], 'little') < min(
        end, _MEMO_SIZE
    ):
        return position + 4
    raise ProtocolError('a message that is not a plain pickle')


# Keys.

#: On the stack of the walk: stands for a text, bytes or a small number; any other value is
#: represented by its levels of nesting.
_TEXT = -1

_TEXTS = frozenset(b'XVSTUCB\x8c\x8d\x8eKMJ')


def _effects() -> list[tuple[int, bool, int]]:
    """Return for every opcode how many values it takes, whether it takes those down to the last
    mark as well, and how many it leaves.
    """
    effects = [(0, False, 0)] * 256
    for opcode in pickletools.opcodes:
        before = opcode.stack_before
        to_mark = pickletools.markobject in before
        taken = before.index(pickletools.markobject) if to_mark else len(before)
        effects[ord(opcode.code)] = taken, to_mark, len(opcode.stack_after)
    return effects


_EFFECTS = _effects()


def _check_keys(data: bytes | bytearray) -> None:
    """Walk over a pickle whose opcodes were checked, and check its keys and items of sets."""
    position, end, odd = 0, len(data), 0
    stack: list[int] = []
    marks: list[int] = []
    try:
        while (opcode := data[position]) != 46:
            position += 1
            step = _STEPS[opcode]
            position = position + step if step >= 0 else _over_argument(step, data, position, end)
            if opcode == 40:  # '(', a mark
                marks.append(len(stack))
            elif opcode in _TEXTS:
                stack.append(_TEXT)
            elif opcode != 0x94:  # MEMOIZE, which leaves the stack as it is
                odd += _apply(opcode, stack, marks)
                if odd > MAX_ODD_KEYS:
                    raise ProtocolError(
                        f'a message with more than {MAX_ODD_KEYS} keys that are not text or small '
                        'numbers'
                    )
    except (IndexError, ValueError, OverflowError):
        raise _too_early() from None


def _apply(opcode: int, stack: list[int], marks: list[int]) -> int:
    """Do to the stack what an opcode does; return how many odd keys it takes."""
    taken, to_mark, left = _EFFECTS[opcode]
    start = marks.pop() if to_mark else len(stack) - taken
    if start < 0:
        raise IndexError
    keys: list[int] = []
    if opcode in _KEY_TAKERS:
        # 's' takes its dictionary as well
        keys = stack[start:] if opcode > 127 else stack[start + (opcode == 115) :: 2]
    deep = max(keys, default=0)
    if deep > _KEY_DEPTH:
        raise ProtocolError('a message with a key that is nested too deeply')
    depth = 1 + max(stack[start:], default=0) if opcode in _TUPLE_MAKERS else 0
    if to_mark:
        start -= taken
        if start < 0:
            raise IndexError
    del stack[start:]
    stack += [max(0, depth)] * left
    return len(keys) - keys.count(_TEXT)
