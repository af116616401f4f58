"""Names and secrets of people in one form, however they were typed: SASLprep (RFC 4013).

Enters: a text. Leaves: the form in which it is compared and hashed. Fails: ValueError for
characters that cannot be typed again reliably, such as control characters; its text quotes nothing.

The same password may be typed as one character or as a letter with an accent behind it; both give
the same form. It is that of Unicode 3.2 with every version of Python, so that a client and the
computer on which the secret was set always agree. Characters that are newer stay as they are.
"""

from __future__ import annotations

import stringprep
from collections.abc import Callable
from unicodedata import ucd_3_2_0

#: Characters that neither a name nor a secret may have: RFC 4013, section 2.3.
_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepared(text: str) -> str:
    """Return the form of a name or secret in which it is compared and hashed.

    :raises ValueError: for characters that it may not have.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = [
        ' ' if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    ]
    form = ucd_3_2_0.normalize('NFKC', ''.join(kept))
    for character in form:
        if any(is_prohibited(character) for is_prohibited in _PROHIBITED):
            raise ValueError('control characters and the like are not accepted')
    _check_directions(form)
    return form


def _check_directions(text: str) -> None:
    """Refuse a text that mixes directions of writing, which looks like another one."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if (
        any(map(stringprep.in_table_d2, text))
        or not stringprep.in_table_d1(text[0])
        or not stringprep.in_table_d1(text[-1])
    ):
        raise ValueError('characters of both directions of writing are not accepted in one text')
