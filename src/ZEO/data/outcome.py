"""How work on a database ends: its errors, each with an exit status, and what was found wrong.

Enters: what is wrong. Leaves: lines for an operator, a few of each kind in full and the others
counted. Fails: never.
"""

from __future__ import annotations

from collections import Counter

#: Exit statuses of all commands that work on a whole database.
DONE, WRONG, IMPOSSIBLE, CUT_SHORT = 0, 1, 2, 3

#: Findings of one kind that are shown in full: enough to see what they have in common.
MOST_OF_A_KIND = 10


class DataError(Exception):
    """What ends a command that works on a whole database; the text says what to do."""

    exit_status = IMPOSSIBLE


class Different(DataError):
    """Two histories are not the same, or what was stored is damaged."""

    exit_status = WRONG


class CutShort(DataError):
    """The work stopped in the middle; the same command goes on."""

    exit_status = CUT_SHORT


class Findings:
    """What is wrong with a database.

    :param most: findings of one kind that are kept as text.
    """

    def __init__(self, most: int = MOST_OF_A_KIND) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()
        self._texts: dict[str, list[str]] = {}

    def add(self, kind: str, text: str) -> None:
        """Note a finding.

        :param kind: what it is a case of, such as "unresolved references".
        :param text: what is wrong, and where.
        """
        self._counts[kind] += 1
        texts = self._texts.setdefault(kind, [])
        if len(texts) < self._most:
            texts.append(text)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def count(self, kind: str) -> int:
        """Return how many findings of a kind there are."""
        return self._counts[kind]

    def lines(self) -> list[str]:
        """Return a line for each finding that is shown, and for how many there are beyond them."""
        found = []
        for kind, texts in self._texts.items():
            found += texts
            more = self._counts[kind] - len(texts)
            if more:
                found.append(f'{more} more of this kind: {kind}')
        return found
