"""What a client may give to a call: each argument has a kind, which says what it accepts.

Enters: the arguments of one message. Leaves: nothing, where they are what the call takes. Fails:
:class:`ValueError` that says which argument is wrong and what it has to be; storages are never
asked about what is no object id or transaction id.

Clients of ZEO 6 send None for a tid that they do not give, and an empty serial for a new object;
programs from the time of Python 2 give ``'\\0' * 8`` for that. Those are accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ZEO.wire.quoting import quoted

#: Objects in one load_many; more would keep the others waiting for the answer.
MOST_OIDS = 1000

#: Bytes or characters of what a client calls a transaction, a file, or a transaction to be undone.
MOST_NAME = 1000

#: Bytes of the largest integer; none of them is more than a size, a count or a time in a client's
#: memory.
_LARGEST = 2**64


class Kind(NamedTuple):
    """A kind of argument."""

    accepts: Callable[[Any], bool]
    is_one: str  # what the argument has to be, for the error's text
    # of this type (object: any) and length, or any length for 0, it is accepted in any case
    usual: tuple[Any, int] = (None, 0)


def _is_id(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) == 8


def _is_id_or_none(value: Any) -> bool:
    return value is None or _is_id(value)


def _is_previous(value: Any) -> bool:
    return value is None or value == '' or isinstance(value, bytes) and len(value) in (8, 0)


def _is_serial(value: Any) -> bool:
    return (
        _is_previous(value) or isinstance(value, str) and len(value) == 8 and max(value) <= '\xff'
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and -_LARGEST < value < _LARGEST


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or _is_count(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, bytes)) and len(value) <= MOST_NAME


def _is_transaction(value: Any) -> bool:
    return _is_name(value) or _is_count(value)


_ID = bytes, 8

KINDS = {
    'oid': Kind(_is_id, 'an object id of 8 bytes', _ID),
    'tid': Kind(_is_id, 'a transaction id of 8 bytes', _ID),
    'tid_or_none': Kind(_is_id_or_none, 'a transaction id of 8 bytes, or None'),
    'serial': Kind(_is_serial, 'a transaction id of 8 bytes, or empty', _ID),
    'previous': Kind(_is_previous, 'a transaction id of 8 bytes, or empty'),
    'oids': Kind(
        lambda value: (
            isinstance(value, (list, tuple)) and len(value) <= MOST_OIDS and all(map(_is_id, value))
        ),
        f'a list of at most {MOST_OIDS} object ids of 8 bytes',
    ),
    'bytes': Kind(lambda value: isinstance(value, bytes), 'bytes', (bytes, 0)),
    'bytes_or_none': Kind(
        lambda value: value is None or isinstance(value, bytes), 'bytes, or None'
    ),
    'text': Kind(lambda value: isinstance(value, (str, bytes)), 'text'),
    'name': Kind(_is_name, f'a text of at most {MOST_NAME} characters'),
    'file_name': Kind(
        lambda value: isinstance(value, str) and _is_name(value),
        f'a text of at most {MOST_NAME} characters',
    ),
    'new_transaction': Kind(_is_transaction, 'a number or a short text'),
    # of any size: one that was begun is small
    'transaction': Kind(_is_transaction, 'a number or a short text', (int, 0)),
    'count': Kind(_is_count, 'an integer of at most 64 bits'),
    'counts': Kind(
        lambda value: (
            isinstance(value, (list, tuple, set, frozenset)) and all(map(_is_count, value))
        ),
        'a list of integers',
    ),
    'number': Kind(_is_number, 'a number'),
    'flag': Kind(lambda value: value is None or _is_number(value), 'True or False'),
    'cursor': Kind(
        lambda value: value is None or _is_name(value) or _is_count(value),
        'what the call before it has answered',
    ),
    'any': Kind(lambda value: True, 'anything', (object, 0)),
}


class Arguments(NamedTuple):
    """The arguments of one call."""

    kinds: tuple[Kind, ...]
    needed: int  # those after the first so many may be left out
    usual: tuple[tuple[Any, int], ...]  # of each kind: most calls need no closer look

    def check(self, args: Any) -> None:
        """Look at the arguments of a message.

        :raises ValueError: when they are not what the call takes.
        """
        if type(args) is tuple and len(args) == len(self.usual):
            for (usual, size), value in zip(self.usual, args, strict=True):
                if type(value) is not usual and usual is not object or size and len(value) != size:
                    break
            else:
                return
        self._look_closely(args)

    def _look_closely(self, args: Any) -> None:
        kinds = self.kinds
        if type(args) not in (tuple, list) or not self.needed <= len(args) <= len(kinds):
            raise ValueError(f'it takes {self._numbers()} arguments, not {quoted(args)}')
        for kind, value in zip(kinds, args, strict=False):
            if not kind.accepts(value):
                raise ValueError(f'{quoted(value)} is not {kind.is_one}')

    def _numbers(self) -> str:
        most = len(self.kinds)
        return str(most) if self.needed == most else f'{self.needed} to {most}'


def arguments(names: str) -> Arguments:
    """Return the arguments that `names` lists; those that may be left out end with a question
    mark.
    """
    words = names.split()
    needed = [word for word in words if not word.endswith('?')]
    kinds = tuple(KINDS[word.rstrip('?')] for word in words)
    return Arguments(kinds, len(needed), tuple(kind.usual for kind in kinds))
