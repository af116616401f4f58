r"""What a client may give to a call: each argument has a kind, which says what it accepts.

Enters: the arguments of one message. Leaves: nothing, where they are what the call takes. Fails:
:class:`ValueError` that says which argument is wrong and what it has to be; storages are never
asked about what is not an object id or a transaction id.

Clients of ZEO 6 send None for a tid that they do not give, and an empty serial for a new object;
programs from the time of Python 2 give ``'\0' * 8`` for that. Those are accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import NoneType
from typing import Any, NamedTuple

from ZEO.wire.quoting import quoted

#: Objects in one load_many; more would keep other clients waiting.
MOST_OIDS = 1000

#: Bytes or characters of what a client calls a transaction, a file, or a transaction to be undone.
MOST_NAME = 1000

#: The largest integer, as a size, a count or a time may be.
_LARGEST = 2**64


class Kind(NamedTuple):
    """A kind of argument."""

    accepts: Callable[[Any], bool]
    description: str  # what the argument has to be, for the error's text
    # a value of one of these types is accepted in any case, but an id only if it has 8 bytes,
    # and a count only if it has 64 bits
    usual: tuple[type, ...] = ()
    is_id: bool = False
    is_count: bool = False


def _is_id(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) == 8


def _are_ids(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) > MOST_OIDS:
        return False
    # no call of Python for each: a thousand take 0.02 ms instead of 0.6
    if {*map(type, value)} <= {bytes}:
        return {*map(len, value)} <= {8}
    return all(map(_is_id, value))


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


KINDS = {
    'oid': Kind(_is_id, 'an object id of 8 bytes', (bytes,), is_id=True),
    'tid': Kind(_is_id, 'a transaction id of 8 bytes', (bytes,), is_id=True),
    'tid_or_none': Kind(_is_id_or_none, 'a transaction id of 8 bytes, or None', (NoneType,)),
    'serial': Kind(_is_serial, 'a transaction id of 8 bytes, or empty', (bytes,), is_id=True),
    'previous': Kind(_is_previous, 'a transaction id of 8 bytes, or empty', (NoneType,)),
    'oids': Kind(
        _are_ids,
        f'a list of at most {MOST_OIDS} object ids of 8 bytes',
    ),
    'bytes': Kind(lambda value: isinstance(value, bytes), 'bytes', (bytes,)),
    'bytes_or_none': Kind(
        lambda value: value is None or isinstance(value, bytes), 'bytes, or None', (bytes, NoneType)
    ),
    'text': Kind(lambda value: isinstance(value, (str, bytes)), 'text', (bytes, str)),
    'name': Kind(_is_name, f'a text of at most {MOST_NAME} characters'),
    'short_text': Kind(
        lambda value: isinstance(value, str) and _is_name(value),
        f'a text of at most {MOST_NAME} characters',
    ),
    'new_transaction': Kind(_is_transaction, 'a number or a short text', (int,), is_count=True),
    # a number of any size: one that was begun is small
    'transaction': Kind(
        lambda value: isinstance(value, int) or _is_name(value), 'a number or a short text', (int,)
    ),
    'count': Kind(_is_count, 'an integer of at most 64 bits', (int,), is_count=True),
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
    'any': Kind(lambda value: True, 'anything', (int, bytes, dict)),
}


class Arguments(NamedTuple):
    """The arguments of one call."""

    kinds: tuple[Kind, ...]
    needed: int  # those after this number may be left out
    # their types in most calls, which need no closer look: with the places of those that have to
    # have 8 bytes then, and of those that have to have 64 bits
    usual: dict[tuple[type, ...], tuple[tuple[int, ...], tuple[int, ...]]]

    def check(self, args: Any) -> None:
        """Look at the arguments of a message.

        :raises ValueError: when they are not what the call takes.
        """
        if type(args) is tuple:
            # no function for each argument: every tpc_begin comes here, and with M5 every storea
            places = self.usual.get((*map(type, args),))
            if places is not None:
                ids, counts = places
                for place in ids:
                    if len(args[place]) != 8:
                        break
                else:
                    for place in counts:
                        if not -_LARGEST < args[place] < _LARGEST:
                            break
                    else:
                        return
        self._look_closely(args)

    def _look_closely(self, args: Any) -> None:
        kinds = self.kinds
        if type(args) not in (tuple, list) or not self.needed <= len(args) <= len(kinds):
            raise ValueError(f'the call takes {self._numbers()} arguments, not {quoted(args)}')
        for kind, value in zip(kinds, args, strict=False):
            if not kind.accepts(value):
                raise ValueError(f'{quoted(value)} is not {kind.description}')

    def _numbers(self) -> str:
        most = len(self.kinds)
        return str(most) if self.needed == most else f'{self.needed} to {most}'


def arguments(names: str) -> Arguments:
    """Return the arguments that `names` lists; those that may be left out end with a question
    mark.
    """
    words = names.split()
    needed = len([word for word in words if not word.endswith('?')])
    kinds = tuple(KINDS[word.rstrip('?')] for word in words)
    usual = {
        types: _places(kinds[:length])
        for length in range(needed, len(kinds) + 1)
        for types in product(*(kind.usual for kind in kinds[:length]))
    }
    return Arguments(kinds, needed, usual)


def _places(kinds: tuple[Kind, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    numbered = tuple(enumerate(kinds))
    return (
        tuple(place for place, kind in numbered if kind.is_id),
        tuple(place for place, kind in numbered if kind.is_count),
    )
