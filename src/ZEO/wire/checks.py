"""A look at a pickle from the other side, before the unpickler sees it: its opcodes are walked
over, in linear time.

Enters: the bytes of a message. Leaves: nothing. Fails: :class:`ProtocolError` for bytes that are
not a pickle, and for one made to hurt: the unpickler sizes its memo by the largest index that it
meets, hashes nested tuples recursively, compares keys whose hashes are equal with each other, and
makes two hundred bytes of one; what holds one object many times, on many levels, is more than
anybody can look through. Each would let a few bytes take down the process, or stop it for minutes.
"""

from __future__ import annotations

import pickletools
import re
import struct

from ZEO.Exceptions import ProtocolError

#: A request nests a few tuples; hashing thousands of nested ones would overrun the C stack.
MAX_TUPLES = 1000

#: Opcodes of a request: a thousand oids or an extension have a part of that.
MAX_PARTS = 20_000

#: Opcodes of a message before register, which has a name and a flag.
FIRST_PARTS = 64

#: Keys of dictionaries and items of sets besides texts and bytes, whose hash nobody can choose, and
#: numbers that are their own.
MAX_ODD_KEYS = 100

#: How deep such a key is nested.
_KEY_DEPTH = 20

#: Two hundred bytes for one.
EMPTY_SET = 0x8F

#: Bytes up to which a message without memo is too short to hurt.
SHORT = 1000

#: Places in the unpickler's memo, which it makes up to the largest index; peers use none.
_MEMO_SIZE = 100_000

#: What a short pickle needs to hurt: one of the opcodes that put something into the memo, or on the
#: stack once more.
_MEMO = re.compile(rb'[2qr\x94]|p[\s\d+_-]')

_TUPLE_MAKERS = frozenset(b'\x85\x86\x87t\x91R\x81\x92o')

#: What puts keys into dictionaries, or items into sets.
_KEY_TAKERS = frozenset(b'sud\x90\x91')

#: What a message before register has none of; of globals the unpickler says which one it was.
_NOT_AT_FIRST = frozenset(b'}dsu\x8f\x90\x91')

#: No peer writes these. Those that give an object a second time would let a few bytes stand for any
#: number of objects.
_REFUSED = frozenset(
    'GET BINGET LONG_BINGET DUP PUT PERSID EXT1 EXT2 EXT4 NEXT_BUFFER READONLY_BUFFER'.split()
)

_FORBIDDEN, _COUNTED_1, _COUNTED_4, _COUNTED_8, _LINE, _LINES, _MEMO_4 = -1, -2, -3, -4, -5, -6, -7


def _steps() -> list[int]:
    """For every opcode, how many bytes its argument takes, or one of the negative constants
    above.
    """
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
    """Return a pattern of short strings, with an alternative for each length: one step, where
    counting them takes many.
    """
    return b'%b(?:%b)' % (
        opcode,
        b'|'.join(re.escape(bytes([size])) + width + b'.{%d}' % size for size in range(last + 1)),
    )


def run_of(*patterns: bytes) -> re.Pattern[bytes]:
    """Return a pattern of many of these in any order; what the engine remembers of each is given
    back after a run.
    """
    return re.compile(b'(?:%b){1,500}' % b'|'.join(patterns), re.DOTALL)


#: What is most of a long answer, and can't hurt: it takes no keys, and no memory beyond some bytes
#: for each of its own.
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

#: The end of one record of an iterator's and the next one up to its bytes, with the length of
#: those: half the time of a run, and most of such an answer.
_NEXT_RECORD = struct.Struct('<5s8x2s8xBI')

#: The same for records that load_many answers.
_NEXT_LOADED = struct.Struct('<2s8x2sBI')

#: The beginning of nearly every message of a server, up to the record that it may hold, which may
#: be a large one.
_HEAD = re.compile(
    rb'\x80\x03\((?:K.|M..|J....)(?:K.|[\x88\x89])X(?:\x06\0\0\0\.reply|\x15\0\0\0invalidateTransaction)'
    rb'(?:C(.)|B(.{4}))?',
    re.DOTALL,
)


def check(data: bytes | bytearray, most: int = MAX_PARTS) -> None:
    """Look at a request.

    :param most: opcodes that it may have.
    :raises ProtocolError: for one that could hurt, and for bytes that are not a pickle.
    """
    if len(data) < SHORT and not _MEMO.search(data):  # each tuple takes a byte
        return
    _walk(data, most, frozenset())


def check_first(data: bytes | bytearray) -> None:
    """Look at a message of somebody who has not registered yet."""
    _walk(data, FIRST_PARTS, _NOT_AT_FIRST)


def check_answer(data: bytes | bytearray) -> None:
    """Look at what a server sends, which may be long: a walk of many opcodes at a time."""
    position, end, takes_keys = _behind_head(data), len(data), False
    if end - position < SHORT and not _MEMO.search(data, position):
        return
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
                raise ProtocolError('a message with a set, which no server sends')
            step = _STEPS[opcode]
            position = position + step if step >= 0 else _over_argument(step, data, position, end)
    except (IndexError, ValueError, OverflowError):
        raise _too_early() from None
    if takes_keys:
        _check_keys(data)


def _over_records(data: bytes | bytearray, position: int) -> int:
    """Where a message goes on behind the records of an iterator's that follow the bytes of one, if
    any do.
    """
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
    """The same for records of load_many that are current."""
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


def _behind_head(data: bytes | bytearray) -> int:
    """Where a message goes on behind its head; 0 for one that has another."""
    found = _HEAD.match(data)
    if found is None:
        return 0
    size = found.lastindex
    return found.end() if size is None else found.end() + int.from_bytes(found[size], 'little')


def _walk(data: bytes | bytearray, most: int, refused: frozenset[int]) -> None:
    position, end, tuples, left, takes_keys = 0, len(data), 0, most, False
    try:
        while (opcode := data[position]) != 46:  # '.', the end
            left -= 1
            if left < 0 or opcode in refused:
                raise ProtocolError(
                    f'a message made of more than {most} parts, or of others than belong there'
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
    raise ProtocolError('a message that is no plain pickle')


# The keys.

#: What stands on the stack: a text, bytes or a small number; anything else is how deep it is
#: nested.
_TEXT = -1

_TEXTS = frozenset(b'XVSTUCB\x8c\x8d\x8eKMJ')


def _effects() -> list[tuple[int, bool, int]]:
    """For every opcode, how many values it takes, besides those down to the last mark if it does
    so, and how many it leaves.
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
    """Walk over a pickle whose opcodes are known to be good, and look at what becomes a key or an
    item of a set.
    """
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
            elif opcode != 0x94:  # which remembers what is on top
                odd += _apply(opcode, stack, marks)
                if odd > MAX_ODD_KEYS:
                    raise ProtocolError(
                        f'a message with more than {MAX_ODD_KEYS} keys that are not text or small '
                        'numbers'
                    )
    except (IndexError, ValueError, OverflowError):
        raise _too_early() from None


def _apply(opcode: int, stack: list[int], marks: list[int]) -> int:
    """Do to the stack what an opcode does; returns how many odd keys it takes."""
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
