"""A check of the keys in a peer's pickle, by a walk over it that follows the stack.

Enters: the bytes of a message, whose opcodes were checked. Leaves: nothing. Fails:
:class:`ProtocolError` for too many keys, or items of sets, whose hashes a peer can choose: the
unpickler would compare all that have the same hash with each other.
"""

from __future__ import annotations

import pickletools

from ZEO.Exceptions import ProtocolError
from ZEO.wire.opcode_steps import KEY_TAKERS, STEPS, TUPLE_MAKERS, over_argument, too_early

#: Keys of dictionaries and items of sets, besides texts and bytes, whose hashes a peer cannot
#: choose, and small numbers, which are their own hash.
MAX_ODD_KEYS = 100

#: Levels of nesting of such a key.
_KEY_DEPTH = 20

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


def check_keys(data: bytes | bytearray) -> None:
    """Walk over a pickle whose opcodes were checked, and check its keys and items of sets.

    :raises ProtocolError: when too many of them are odd, or one is nested too deeply.
    """
    position, end, odd = 0, len(data), 0
    stack: list[int] = []
    marks: list[int] = []
    try:
        while (opcode := data[position]) != 46:
            position += 1
            step = STEPS[opcode]
            position = position + step if step >= 0 else over_argument(step, data, position, end)
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
        raise too_early() from None


def _apply(opcode: int, stack: list[int], marks: list[int]) -> int:
    """Do to the stack what an opcode does; return how many odd keys it takes."""
    taken, to_mark, left = _EFFECTS[opcode]
    start = marks.pop() if to_mark else len(stack) - taken
    if start < 0:
        raise IndexError
    keys: list[int] = []
    if opcode in KEY_TAKERS:
        # 's' takes its dictionary as well
        keys = stack[start:] if opcode > 127 else stack[start + (opcode == 115) :: 2]
    deep = max(keys, default=0)
    if deep > _KEY_DEPTH:
        raise ProtocolError('a message with a key that is nested too deeply')
    depth = 1 + max(stack[start:], default=0) if opcode in TUPLE_MAKERS else 0
    if to_mark:
        start -= taken
        if start < 0:
            raise IndexError
    del stack[start:]
    stack += [max(0, depth)] * left
    return len(keys) - keys.count(_TEXT)
