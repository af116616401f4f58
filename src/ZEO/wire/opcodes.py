"""The opcodes of pickle protocols 0 to 3, as operations of :class:`ZEO.wire.machine.Machine`.

Enters: a machine, positioned behind an opcode. Leaves: the machine behind the opcode's argument,
with another stack. Fails: :class:`Unreadable` for opcodes that records do not hold; Python's own
exceptions for malformed arguments, which the machine turns into that.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ZEO.wire.machine import Machine

Operation = Callable[['Machine'], None]

#: The newest protocol that ZODB writes.
PROTOCOL = 3


class Unreadable(ValueError):
    """The bytes are not a pickle, or one that the machine refuses."""


def _refused(machine: Machine) -> None:
    raise Unreadable(
        f'the opcode {machine.data[machine.position - 1 : machine.position]!r}, which records do '
        'not hold'
    )


def _protocol(machine: Machine) -> None:
    if machine.argument(1)[0] > PROTOCOL:
        raise Unreadable('a pickle of a protocol that ZODB does not write')


def _constant(value: Any) -> Operation:
    return lambda machine: machine.push(value)


def _fixed(form: str) -> Operation:
    unpack = struct.Struct(form)
    return lambda machine: machine.push(unpack.unpack(machine.argument(unpack.size))[0])


def _counted(width: int, make: Callable[[Machine, bytes], Any]) -> Operation:
    def operation(machine: Machine) -> None:
        size = int.from_bytes(machine.argument(width), 'little')
        machine.push(make(machine, machine.argument(size)), 1 + (size >> 6))

    return operation


def _line(make: Callable[[Machine, bytes], Any]) -> Operation:
    def operation(machine: Machine) -> None:
        line = machine.line()
        machine.push(make(machine, line), 1 + (len(line) >> 6))

    return operation


def _text_of_python_2(machine: Machine, data: bytes) -> Any:
    try:
        return data.decode('ascii')
    except UnicodeDecodeError:
        if machine.text_or_bytes:
            return data
        raise


def _quoted(machine: Machine, line: bytes) -> Any:
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b'"', b"'"):
        raise Unreadable('a text without quotes')
    return _text_of_python_2(machine, codecs.escape_decode(line[1:-1])[0])


def _number(machine: Machine, line: bytes) -> Any:
    return {b'00': False, b'01': True}[line] if line in (b'00', b'01') else int(line.rstrip(b'L'))


def _long(machine: Machine, data: bytes) -> int:
    return int.from_bytes(data, 'little', signed=True)


def _itself(machine: Machine, data: bytes) -> bytes:
    return data


def _mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


def _tuple(size: int) -> Operation:
    def operation(machine: Machine) -> None:
        start = machine.fence(size)
        machine.replace(start, tuple(machine.stack[start:]))

    return operation


def _tuple_to_mark(machine: Machine) -> None:
    start = machine.marks.pop()
    machine.replace(start, tuple(machine.stack[start:]))


def _list_to_mark(machine: Machine) -> None:
    start = machine.marks.pop()
    machine.replace(start, machine.stack[start:])


def _dict_to_mark(machine: Machine) -> None:
    start = machine.marks.pop()
    machine.replace(start, machine.mapping(start))


def _append(machine: Machine) -> None:
    machine.extend(machine.fence(1))


def _appends(machine: Machine) -> None:
    machine.extend(machine.marks.pop())


def _setitem(machine: Machine) -> None:
    machine.update(machine.fence(2))


def _setitems(machine: Machine) -> None:
    machine.update(machine.marks.pop())


def _global(machine: Machine) -> None:
    machine.push(machine.global_(machine.line(), machine.line()))


def _reduce(machine: Machine) -> None:
    start = machine.fence(2)
    machine.make(start, machine.stack[start], machine.stack[start + 1], new=False)


def _newobj(machine: Machine) -> None:
    start = machine.fence(2)
    machine.make(start, machine.stack[start], machine.stack[start + 1], new=True)


def _inst(machine: Machine) -> None:
    function = machine.global_(machine.line(), machine.line())
    start = machine.marks.pop()
    machine.make(start, function, tuple(machine.stack[start:]), new=False)


def _obj(machine: Machine) -> None:
    start = machine.marks.pop()
    function, *args = machine.stack[start:]
    machine.make(start, function, tuple(args), new=False)


def _build(machine: Machine) -> None:
    target, (state,) = machine.grow(machine.fence(2) + 1)
    machine.built(target, state)


def _persistent(machine: Machine) -> None:
    machine.refer(machine.fence(1))


def _persistent_line(machine: Machine) -> None:
    machine.push(machine.line().decode('ascii'))
    machine.refer(machine.fence(1))


def _put(machine: Machine) -> None:
    machine.put(machine.argument(1)[0])


def _long_put(machine: Machine) -> None:
    machine.put(int.from_bytes(machine.argument(4), 'little'))


def _put_line(machine: Machine) -> None:
    machine.put(int(machine.line()))


def _get(machine: Machine) -> None:
    machine.get(machine.argument(1)[0])


def _long_get(machine: Machine) -> None:
    machine.get(int.from_bytes(machine.argument(4), 'little'))


def _get_line(machine: Machine) -> None:
    machine.get(int(machine.line()))


_OF: dict[str, Operation] = {
    '\x80': _protocol,
    '(': _mark,
    'N': _constant(None),
    '\x88': _constant(True),
    '\x89': _constant(False),
    ')': _constant(()),
    'J': _fixed('<i'),
    'K': _fixed('<B'),
    'M': _fixed('<H'),
    'G': _fixed('>d'),
    '\x8a': _counted(1, _long),
    '\x8b': _counted(4, _long),
    'I': _line(_number),
    'L': _line(_number),
    'F': _line(lambda machine, line: float(line)),
    'X': _counted(4, lambda machine, data: data.decode('utf-8', 'surrogatepass')),
    'V': _line(lambda machine, line: line.decode('raw-unicode-escape')),
    'C': _counted(1, _itself),
    'B': _counted(4, _itself),
    'U': _counted(1, _text_of_python_2),
    'T': _counted(4, _text_of_python_2),
    'S': _line(_quoted),
    't': _tuple_to_mark,
    '\x85': _tuple(1),
    '\x86': _tuple(2),
    '\x87': _tuple(3),
    ']': lambda machine: machine.push_new([]),
    'l': _list_to_mark,
    'a': _append,
    'e': _appends,
    '}': lambda machine: machine.push_new({}),
    'd': _dict_to_mark,
    's': _setitem,
    'u': _setitems,
    'q': _put,
    'r': _long_put,
    'p': _put_line,
    'h': _get,
    'j': _long_get,
    'g': _get_line,
    'c': _global,
    'R': _reduce,
    '\x81': _newobj,
    'i': _inst,
    'o': _obj,
    'b': _build,
    'Q': _persistent,
    'P': _persistent_line,
}

#: By opcode. DUP, POP and POP_MARK are refused: picklers use them for recursive tuples only.
OPERATIONS: list[Operation] = [_OF.get(chr(opcode), _refused) for opcode in range(256)]
