"""A regular expression that takes long to compile, compiled when it is first used.

Enters: its text. Leaves: its ``match``. Fails: never.

One with an alternative for each length of a string takes 5 to 50 ms, and most processes never use
one of them: that of the other encoding, that of records where no reference is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


class LatePattern:
    """A pattern of bytes, in which a dot stands for any of them."""

    #: As that of a compiled one, from its first use on without a call between.
    match: Callable[..., re.Match[bytes] | None]

    def __init__(self, text: bytes) -> None:
        self._text = text

    def __getattr__(self, name: str) -> Any:
        if name != 'match':
            raise AttributeError(name)
        self.match = re.compile(self._text, re.DOTALL).match
        return self.match
