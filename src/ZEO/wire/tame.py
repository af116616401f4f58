"""Whether ZODB's own fast search for references is safe with a record.

Enters: a record. Leaves: whether nothing in it can do harm, as in most records. Fails: never.

That search hashes keys and makes a memo as large as the record says. Two kinds of records are safe
with it: those that set no items of dictionaries, as BTrees, and those with tuples and long integers
in references only, as most other objects; both with memo indexes of two bytes. Runs of opcodes are
matched by regular expressions, in about 30 ns each, where :mod:`ZEO.wire.guarded` takes a
microsecond.
"""

from __future__ import annotations

import re

from ZEO.wire.late_pattern import LatePattern

_MEMO = rb'(?:q.|r..\0\0)?'

#: Text or bytes of less than 256 bytes, one form for each length; longer ones are skipped.
_SHORT = rb'(?:%b)' % b'|'.join(
    re.escape(bytes([size])) + b'%%b.{%d}' % size for size in range(256)
)
_TEXT = b'X' + _SHORT.replace(b'%b', rb'\0\0\0')
_BYTES = b'[CU]' + _SHORT.replace(b'%b', b'')

_GLOBAL = rb'c[^\n]{1,200}\n[^\n]{1,200}\n'
_REFERENCE = rb'C\x08.{8}%b(?:h.|j..\0\0|%b%b)\x86%bQ' % (_MEMO, _GLOBAL, _MEMO, _MEMO)

#: Opcodes that both kinds hold.
_COMMON = (
    rb'[N\x88\x89)(\]}ae.bR\x81Q]',
    rb'[hqK].',
    rb'[rj]..\0\0',
    _TEXT,
    _REFERENCE,
    _BYTES,
    _GLOBAL,
    rb'M..',
    rb'J....',
    rb'G.{8}',
    rb'\x80[\1-\3]',
)

#: Opcodes in one match, after which the engine frees what it remembers of each.
_RUN = b'(?:%b){1,500}'


def _kind(*more: bytes) -> LatePattern:
    return LatePattern(_RUN % b'|'.join((*_COMMON, *more)))


_WITHOUT_ITEMS = _kind(rb'[\x85\x86\x87t]', rb'\x8a\x08.{8}')
_WITHOUT_TUPLES = _kind(rb'[su]')

#: Opcodes of text and bytes whose length takes four bytes.
_COUNTED = b'XBT'


def is_tame(data: bytes) -> bool:
    """Return whether a record is of one of the two kinds."""
    return _is_of(_WITHOUT_TUPLES, data) or _is_of(_WITHOUT_ITEMS, data)


def _is_of(kind: LatePattern, data: bytes) -> bool:
    position, end = 0, len(data)
    while position < end:
        found = kind.match(data, position)
        if found is not None:
            position = found.end()
        elif data[position] in _COUNTED:
            position += 5 + int.from_bytes(data[position + 1 : position + 5], 'little')
        else:
            return False
    return position == end
