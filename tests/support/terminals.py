"""A command in a pseudo-terminal of some size, and what a person sees there.

Enters: a command line. Leaves: the lines of the screen, as a terminal shows them; the exit status.
Fails: AssertionError with the screen, when what is awaited does not come.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable
from typing import Any

import pyte

from support.processes import PATIENCE


class Terminal(threading.Thread):
    """The terminal; its command is killed at the end of the ``with`` block, if it still runs.

    :param command: the command line.
    :param columns: characters of a line.
    :param rows: lines.
    """

    def __init__(self, command: list[Any], columns: int = 80, rows: int = 24) -> None:
        super().__init__(name='terminal', daemon=True)
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = threading.Condition()
        self._ended = False
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        hidden = 'COLUMNS', 'LINES', 'NO_COLOR', 'FORCE_COLOR'
        environ = {name: text for name, text in os.environ.items() if name not in hidden}
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environ, 'TERM': 'xterm-256color'},
            start_new_session=True,
        )
        os.close(slave)
        self.start()

    def run(self) -> None:
        """Show what the command prints."""
        while not self._ended:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # Linux says so that no process has it open any more
                data = b''
            with self._changed:
                self._stream.feed(data)
                self._ended = not data
                self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """The lines that are shown, without the empty ones at the end."""
        with self._changed:
            return '\n'.join(line.rstrip() for line in self._screen.display).rstrip().split('\n')

    @property
    def has_scrolled(self) -> bool:
        """Whether something has left the screen at its top."""
        with self._changed:
            return bool(self._screen.history.top)

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> list[str]:
        """Return the lines of the screen, as soon as a pattern is in one of them."""
        return self.wait_until(
            lambda lines: any(re.search(pattern, line) for line in lines), repr(pattern), patience
        )

    def wait_until(
        self, shown: Callable[[list[str]], bool], what: str, patience: float = PATIENCE
    ) -> list[str]:
        """Return the lines of the screen, as soon as they are what is awaited: what is printed at
        once may come in pieces.
        """
        found: list[str] = []

        def seen() -> bool:
            found[:] = [line.rstrip() for line in self._screen.display]
            return shown(found)

        with self._changed:
            assert self._changed.wait_for(seen, patience), f'no {what} in {found}'
        return found

    def end(self, number: int | None = None) -> int:
        """Send a signal, if one is given, and wait for the end; return the exit status."""
        if number is not None:
            self._process.send_signal(number)
        status = self._process.wait(PATIENCE)
        self.join(PATIENCE)
        return status

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self.end()
        os.close(self._master)
