"""Templates of a server's shortest messages: answers to vote, tpc_finish and ping, and sizes.

Enters: the bytes of a message. Leaves: the message, if it has one of the forms that servers of this
package send; None for all others, which are left to the unpickler. Fails: never.

A client gets three of these in each transaction; a template spares it the walk over the pickle and
the unpickler.
"""

from __future__ import annotations

import re
from typing import Any

#: No message that is read here is longer, in bytes.
LONGEST = 51

_REPLY = re.compile(
    rb'\x80\x03\((?:K(.)|M(..)|J(...[\0-\x7f]))K\0X\x06\0\0\0\.reply(?:C\x08(.{8})|(\])|N)t\.',
    re.DOTALL,
)

_INFO = re.compile(
    rb'\x80\x03\(K\0\x88X\x04\0\0\0info\}\('
    rb'X\x06\0\0\0length(?:K(.)|M(..)|J(...[\0-\x7f]))'
    rb'X\x04\0\0\0size(?:K(.)|M(..)|J(...[\0-\x7f]))u\x85t\.',
    re.DOTALL,
)

_number = int.from_bytes


def read(message: bytes | bytearray) -> tuple[int, int, str, Any] | None:
    """Return a message as the unpickler reads it."""
    found = _REPLY.fullmatch(message)
    if found is not None:
        byte, short, long, tid, no_oids = found.groups()
        result = tid if no_oids is None else []
        return _number(byte or short or long, 'little'), 0, '.reply', result
    found = _INFO.fullmatch(message)
    if found is None:
        return None
    byte, short, long, *size = found.groups()
    info = {'length': _number(byte or short or long, 'little')}
    byte, short, long = size
    info['size'] = _number(byte or short or long, 'little')
    return 0, True, 'info', (info,)
