"""A pickle machine that runs nothing: the opcodes of protocols 0 to 3 as data.

Enters: bytes that hold one or several pickles. Leaves: the values that they describe, in which
methods of a subclass decide what stands for globals, calls and persistent references; here that is
an inert mark. Fails: :class:`Unreadable` for bytes that are not a pickle, and for a pickle that
would take too much memory or time.

No opcode reaches a class or a function, or hashes a value before it was checked. The memo is a
dictionary, so that a large index costs nothing. The machine knows of each value how large it is
(:mod:`ZEO.wire.weighed_stack`).
"""

from __future__ import annotations

import struct
from typing import Any

from ZEO.wire.marks import DICTIONARY, MAKERS, Maker, Named, Opaque
from ZEO.wire.opcodes import OPERATIONS, Unreadable
from ZEO.wire.weighed_stack import WeighedStack

#: Keys of dictionaries and items of sets whose hash an attacker can choose. With more of them,
#: comparing each with all others would take too long.
MAX_ODD_KEYS = 1000

#: The unfolded size of such a key.
MAX_KEY_SIZE = 1000

#: Numbers below this are their own hash, so that an attacker cannot choose many with the same.
_OWN_HASH = 2**61 - 1

_SETS = (set, frozenset)


class Machine(WeighedStack):
    """Reads the pickles in `data`, one after the other; they share their memo, as those of a record
    do.

    :param most: opcodes that may be run.
    :param text_or_bytes: read text of Python 2 that is not ASCII as bytes, instead of refusing it.
    """

    def __init__(
        self, data: bytes, most: float = float('inf'), text_or_bytes: bool = False
    ) -> None:
        super().__init__(len(data))
        self.data = data
        self.end = len(data)
        self.position = 0
        self.text_or_bytes = text_or_bytes
        self._most = most
        self._odd_keys = 0
        # items that may still be copied into sets and dictionaries
        self._left_to_copy = self._most_weight

    def load(self) -> Any:
        """Return the value that the next pickle describes.

        :raises Unreadable: when it is malformed or would take too much.
        """
        data, left = self.data, self._most
        try:
            while (opcode := data[self.position]) != 46:  # '.', the end
                self.position += 1
                left -= 1
                if left < 0:
                    raise Unreadable(f'a pickle of more than {self._most} opcodes')
                OPERATIONS[opcode](self)
            self.position += 1
            self._most = left
            self.fence(1)
            value = self.stack[-1]
            self.drop(0)
            return value
        except Unreadable:
            raise
        # raised for malformed arguments of opcodes
        except (LookupError, TypeError, ValueError, ArithmeticError, struct.error) as error:
            raise Unreadable(f'malformed data: {type(error).__name__}: {error}') from None

    # What stands for globals, decided by subclasses.

    def named(self, module: str, name: str) -> Any:
        """Return what stands for a global."""
        return Named(module, name)

    def called(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Return what a call of a global gives."""
        return Opaque()

    def new(self, kind: Any, args: tuple[Any, ...]) -> Any:
        """Return a new instance of a global."""
        return Opaque()

    def built(self, value: Any, state: Any) -> None:
        """Give an instance its state."""
        if type(value) is not Opaque:
            raise Unreadable('a state for a value that is not an object')

    def persistent(self, reference: Any) -> Any:
        """Return what stands for another persistent object."""
        return Opaque()

    def filled(self, target: Any, items: list[Any]) -> None:
        """Add items to an object that is not a list or a dictionary."""
        if type(target) is not Opaque:
            raise Unreadable('items for a value that cannot hold any')

    # What operations make of the topmost values.

    def extend(self, start: int) -> None:
        """Add everything from the height `start` on to the list below it."""
        target, items = self.grow(start)
        if type(target) is list:
            target.extend(items)
        else:
            self.filled(target, items)

    def update(self, start: int) -> None:
        """Add the keys and values from the height `start` on to the dictionary below them."""
        is_dict = start > 0 and type(self.stack[start - 1]) is dict
        found = self.mapping(start) if is_dict else {}
        target, items = self.grow(start)
        if is_dict:
            target.update(found)
        else:
            self.filled(target, items)

    def mapping(self, start: int) -> Any:
        """Return a dictionary of the keys and values from the height `start` on."""
        self._check_keys(start, 2)
        items = self.stack[start:]
        return dict(zip(items[::2], items[1::2], strict=True))

    def refer(self, start: int) -> None:
        """Replace the parts of a persistent reference by the reference."""
        if self.bounded and (self.weights[start] > MAX_KEY_SIZE or self.depths[start] > 2):
            raise Unreadable('a malformed persistent reference')
        self.replace(start, self.persistent(self.stack[start]))

    def _check_keys(self, start: int, step: int) -> None:
        """Check every `step`-th value from the height `start` on, before it is hashed."""
        for position in range(start, len(self.stack), step):
            key = self.stack[position]
            kind = type(key)
            if kind is str or kind is bytes or (kind is int and -_OWN_HASH < key < _OWN_HASH):
                continue
            if self.weights[position] > MAX_KEY_SIZE:
                raise Unreadable('a key that is too large')
            self._odd_keys += 1
            if self._odd_keys > MAX_ODD_KEYS:
                raise Unreadable(f'more than {MAX_ODD_KEYS} keys that are not text')

    def global_(self, module: bytes, name: bytes) -> Any:
        """Return what stands for a global."""
        names = module.decode(), name.decode()
        return MAKERS.get(names) or self.named(*names)

    def argument(self, width: int) -> bytes:
        """Return the next bytes."""
        start = self.position
        self.position = start + width
        if self.position > self.end:
            raise Unreadable('a pickle that ends too early')
        return self.data[start : self.position]

    def line(self) -> bytes:
        """Return the next line."""
        start = self.position
        stop = self.data.index(b'\n', start)
        self.position = stop + 1
        return self.data[start:stop]

    def make(self, start: int, function: Any, args: Any, new: bool) -> None:
        """Replace everything from the height `start` on by the result of a call.

        :param function: what stands for a global.
        :param new: whether the call makes an instance of a class.
        """
        if type(args) is not tuple:
            raise Unreadable('arguments that are not a tuple')
        if type(function) is Maker:
            value = self._made(function, args)
        else:
            value = (self.new if new else self.called)(function, args)
        self.replace(start, value)

    def _made(self, maker: Maker, args: tuple[Any, ...]) -> Any:
        if maker.make in _SETS and args:
            (items,) = args
            if type(items) is not list:
                raise Unreadable('a set that is not made of a list')
            self._check_items(items)
        elif maker is DICTIONARY and args:
            self._check_items(_keys(*args))
        return maker.make(*args)

    def _check_items(self, items: list[Any]) -> None:
        """Check values that are not on the stack, before they are hashed."""
        self._left_to_copy -= len(items)
        if self._left_to_copy < 0:
            raise Unreadable('a list of which too many sets are made')
        height = len(self.stack)
        for item in items:
            # sizes are not known here: containers count as large keys
            self.push(
                item,
                1
                if type(item) in (str, bytes, int)
                else MAX_KEY_SIZE // 2
                if _is_flat(item)
                else MAX_KEY_SIZE + 1,
            )
        self._check_keys(height, 1)
        self.drop(height)


def _keys(pairs: Any) -> list[Any]:
    """Return the keys of the argument of a dictionary."""
    if type(pairs) is dict:
        return list(pairs)
    if type(pairs) not in (list, tuple) or not all(
        type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs
    ):
        raise Unreadable('a dictionary that is not made of keys and values')
    return [key for key, _ in pairs]


def _is_flat(item: Any) -> bool:
    return not isinstance(item, tuple) or (
        len(item) < 20 and not any(isinstance(part, tuple) for part in item)
    )
