"""How far a long piece of work is: one line that changes on a terminal, else a line now and then.

Enters: counts, as the work goes on. Leaves: lines on standard error. Fails: never because of where
they go: a program whose terminal is gone works on.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO, TypeVar

from ZEO.net.system import REAL, System
from ZEO.serving.moments import lasted, size

#: Seconds between two lines: on a terminal, where they replace each other, and elsewhere.
ON_TERMINAL, ELSEWHERE = 0.2, 10.0

#: Characters in a line of a terminal that does not say it.
_USUAL_COLUMNS = 80

#: What a ``with`` block gets.
Self = TypeVar('Self', bound='Shown')

#: Seconds after which a rate is worth something.
_SOON = 1.0


class Shown:
    """A line that changes on a terminal, else a line now and then.

    :param quiet: whether to show nothing.
    """

    def __init__(
        self, quiet: bool = False, file: TextIO | None = None, system: System = REAL
    ) -> None:
        self._quiet = quiet
        self._file = sys.stderr if file is None else file
        self._system = system
        self._terminal = self._file is not None and self._file.isatty()
        self._pause = ON_TERMINAL if self._terminal else ELSEWHERE
        self._began = self._shown = system.now()
        self._width = 0

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self._system.now() - self._began

    def is_due(self) -> bool:
        """Return whether the line has not been shown just now."""
        return not self._quiet and self._system.now() - self._shown >= self._pause

    def show(self) -> None:
        """Show how far it is, if that has not been done just now."""
        if self.is_due():
            self._shown = self._system.now()
            self._print(self.line())

    def line(self) -> str:
        """Return how far it is."""
        raise NotImplementedError

    def _print(self, line: str) -> None:
        if self._terminal:
            line = line[: self._columns() - 1]  # a longer one would stay when it is replaced
            width, self._width = self._width, len(line)
            line = f'\r{line.ljust(width)}'
        try:
            self._file.write(line if self._terminal else f'{line}\n')
            self._file.flush()
        except (OSError, ValueError):  # the terminal is gone, or standard error is closed
            self._quiet = True

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._file.fileno()).columns or _USUAL_COLUMNS
        except (OSError, ValueError):  # it is gone, or only says that it is one
            return _USUAL_COLUMNS

    def close(self) -> None:
        """Remove the line from a terminal."""
        if self._terminal and self._width:
            self._print('')
            self._print('')

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Doing(Shown):
    """Shows what is being done, as a text that somebody else makes.

    :param quiet: whether to show nothing.
    :param on_terminal: seconds between two texts that are taken on a terminal.
    :param elsewhere: the same elsewhere.
    """

    def __init__(
        self, quiet: bool = False, on_terminal: float = 0.0, elsewhere: float = ELSEWHERE
    ) -> None:
        super().__init__(quiet)
        self._pause = on_terminal if self._terminal else elsewhere
        self._text = ''

    def line(self) -> str:
        """Return what is being done."""
        return self._text

    def update(self, text: str) -> None:
        """Something else is being done."""
        self._text = text
        if text:
            self.show()


class Progress(Shown):
    """Shows how far a piece of work is.

    :param what: is done, such as "copy".
    :param total: bytes that there are to do, as far as that is known; else 0.
    :param quiet: whether to show nothing.
    """

    def __init__(
        self,
        what: str,
        total: int = 0,
        quiet: bool = False,
        file: TextIO | None = None,
        system: System = REAL,
    ) -> None:
        super().__init__(quiet, file, system)
        self._what, self.total = what, total
        self.transactions = self.records = self.blobs = self.bytes = 0

    def record(self, data: bytes | None) -> None:
        """One record more."""
        self.records += 1
        self.bytes += 50 + len(data or b'')  # with its head

    def blob(self, count: int) -> None:
        """One blob more, of `count` bytes."""
        self.blobs += 1
        self.bytes += count
        self.total += count if self.total else 0  # of which the storage's size does not know
        self.show()

    def transaction(self) -> None:
        """One transaction more."""
        self.transactions += 1
        self.show()

    def begin_anew(self) -> None:
        """What was done has to be done again."""
        self.transactions = self.records = self.blobs = self.bytes = 0

    def line(self) -> str:
        """Return how far it is."""
        seconds = self.seconds
        rate = self.bytes / seconds if seconds >= _SOON else 0.0
        parts = [f'{self._what}: {self.counts()}']
        if rate:
            parts.append(f'{size(rate)}/s')
        if self.total > self.bytes:
            parts.append(f'{100 * self.bytes / self.total:.0f} %')
            if rate:
                parts.append(f'{lasted((self.total - self.bytes) / rate)} left')
        return ', '.join(parts)

    def counts(self) -> str:
        """Return what was done so far."""
        blobs = f', {self.blobs} blobs' if self.blobs else ''
        return (
            f'{self.transactions} transactions, {self.records} records{blobs}, {size(self.bytes)}'
        )
