"""How far each opcode of a pickle reaches, for walks over pickles that decode nothing.

Enters: an opcode, and the position behind it. Leaves: the position of the next opcode. Fails:
:class:`ProtocolError` for opcodes that peers do not write; IndexError, ValueError or OverflowError
for a pickle that ends too early, which the walks turn into :func:`too_early`.
"""

from __future__ import annotations

import pickletools

from ZEO.Exceptions import ProtocolError

#: Places in the unpickler's memo, which it makes as large as the largest index; peers use none.
_MEMO_SIZE = 100_000

#: Opcodes that make tuples, or may.
TUPLE_MAKERS = frozenset(b'\x85\x86\x87t\x91R\x81\x92o')

#: Opcodes that put keys into dictionaries, or items into sets.
KEY_TAKERS = frozenset(b'sud\x90\x91')

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


#: What is behind each opcode: the bytes of its argument, or a negative number, to be given to
#: :func:`over_argument`.
STEPS = _steps()


def too_early() -> ProtocolError:
    """Return the error for a pickle that goes on behind the end of the message."""
    return ProtocolError('a message that is not a pickle: it ends too early')


def over_argument(step: int, data: bytes | bytearray, position: int, end: int) -> int:
    """Return the position behind an argument whose size is not fixed.

    :param step: what :data:`STEPS` has for the opcode.
    :param position: of the argument.
    :param end: of the message.
    :raises ProtocolError: for an opcode that peers do not write.
    """
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
