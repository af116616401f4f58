"""What a check says: lines on the standard output as it goes, and a summary at the end.

Enters: what was done and whether it came out right. Leaves: ``PASS`` and ``FAIL`` lines, flushed at
once; a summary; an exit code. Fails: never; a check that raises is reported as failed by
:meth:`Report.guard`.
"""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class CannotRun(Exception):
    """What a check needs is not to be had here; the message is the reason."""


class Report:
    """The lines of one run."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._passed: dict[str, int] = {}
        self._failed: list[str] = []
        self._skipped: list[str] = []
        self._section = ''

    def section(self, title: str) -> None:
        """Begin a check called `title`."""
        self._section = title
        self._passed.setdefault(title, 0)
        self._print(f'\n== {title}')

    def say(self, text: str) -> None:
        """Print what is done, or what came of it."""
        for line in text.rstrip().splitlines():
            self._print(f'   {line}')

    def check(self, what: str, right: object, seen: object = '') -> bool:
        """Print PASS or FAIL for `what`; `seen` is shown when it is not right."""
        if right:
            self._passed[self._section] += 1
            self._print(f'PASS {what}')
        else:
            self._failed.append(f'{self._section}: {what}')
            self._print(f'FAIL {what}' + (f': {seen}' if seen != '' else ''))
        return bool(right)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Report what is raised inside as a failure, and go on behind it."""
        try:
            yield
        except CannotRun as problem:
            self._skipped.append(f'{self._section}: {problem}')
            self._print(f'CANNOT RUN {problem}')
        except subprocess.SubprocessError as problem:
            self.check('the command ran to its end', False, problem)
        except Exception as problem:  # one check's trouble is no reason to leave out the next
            traceback.print_exc(file=sys.stdout)
            self.check('the check ran to its end', False, f'{type(problem).__name__}: {problem}')

    def summary(self) -> int:
        """Print the summary; return the exit code: 0 when all is right, 1 when not."""
        self._print(f'\n== summary, after {time.monotonic() - self._began:.0f} seconds')
        for title, count in self._passed.items():
            wrong = sum(line.startswith(title + ':') for line in self._failed)
            self._print(f'   {title}: {count} passed, {wrong} failed')
        for line in self._skipped:
            self._print(f'CANNOT RUN {line}')
        for line in self._failed:
            self._print(f'FAIL {line}')
        self._print(
            'FAILED'
            if self._failed
            else 'ALL PASSED'
            if not self._skipped
            else 'PASSED, as far as it could be run'
        )
        return 1 if self._failed else 0

    @staticmethod
    def _print(line: str) -> None:
        print(line, flush=True)
