"""Child processes that a test talks to, and that always end.

Enters: the module a child runs and its commands.  Leaves: the results.  Fails: a command that
fails in the child raises :class:`RemoteError`; a child that is silent for too long, or has died,
raises :class:`ChildFailed` with the end of its standard error.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from typing import Any

from support import jsonlines
from support.sides import Side

#: Seconds that any one answer may take; far more than it should, and less than pytest's timeout.
PATIENCE = 45.0


class ChildFailed(AssertionError):
    """A child process died, or did not answer in time."""


class RemoteError(Exception):
    """What a command raised in a child process."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.classes: list[str] = description['classes']  # its own name first
        self.text: str = description['text']
        self.attributes: dict[str, Any] = description['attributes']
        self.values: list[Any] = description['args']
        super().__init__(f'{self.classes[0]}: {self.text}\n{description["traceback"]}')

    def is_a(self, name: str) -> bool:
        """Return whether it is of a class, or one derived from it, of this name."""
        return any(cls.rpartition('.')[2] == name or cls == name for cls in self.classes)


class Output:
    """The lines that a process prints, each awaited for a bounded time."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._buffer = b''
        self._ended = False

    def line(self, patience: float) -> bytes | None:
        """Return the next line, or None when there is none within `patience` seconds or at all."""
        deadline = time.monotonic() + patience
        while b'\n' not in self._buffer and not self._ended:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._file], [], [], left)[0]:
                return None
            chunk = os.read(self._file.fileno(), 65536)
            self._buffer += chunk
            self._ended = not chunk
        line, newline, rest = self._buffer.partition(b'\n')
        self._buffer = rest
        return line if newline or line else None


class Process:
    """A process of one side, its standard error kept in a file."""

    def __init__(self, side: Side, args: list[str], **options: Any) -> None:
        """Start it.

        :param args: the command line; an argument ``python`` in first place is the side's own.
        :param options: for :class:`subprocess.Popen`.
        """
        if args[0] == 'python':
            args = [side.python, *args[1:]]
        self.side = side
        self._errors = tempfile.TemporaryFile(dir='/tmp')
        self._said = ''  # its standard error, once it has ended
        self.popen = subprocess.Popen(
            args,
            env=options.pop('env', None) or side.environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            **options,
        )
        self.output = Output(self.popen.stdout)

    def errors(self) -> str:
        """Return all it has written to standard error."""
        if self._errors.closed:
            return self._said
        self._errors.seek(0, os.SEEK_END)
        return os.pread(self._errors.fileno(), self._errors.tell(), 0).decode(errors='replace')

    def complain(self, what: str) -> ChildFailed:
        """Return an error that says what happened and what the process said itself."""
        status = self.popen.poll()
        state = 'still runs' if status is None else f'ended with {status}'
        tail = '\n'.join(self.errors().splitlines()[-30:])
        return ChildFailed(f'{self.side.name}: {what}; {self.popen.args} {state}:\n{tail}')

    def kill(self) -> None:
        """End it as the kernel does, and wait."""
        self.popen.kill()
        self.end(0)

    def end(self, patience: float = 10.0) -> None:
        """Close its input, give it `patience` seconds to end, then kill it."""
        if self.popen.stdin and not self.popen.stdin.closed:
            try:
                self.popen.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        if self.popen.stdout:
            self.popen.stdout.close()
        self._said = self.errors()
        self._errors.close()


class Child(Process):
    """A process that runs one of our command modules."""

    def __init__(self, side: Side, module: str, **options: Any) -> None:
        """Start ``python -m module``."""
        super().__init__(side, ['python', '-m', module], **options)
        self._unanswered = 0

    @property
    def is_idle(self) -> bool:
        """Whether it runs and has answered everything."""
        return self.popen.poll() is None and not self._unanswered

    def call(self, command: str, patience: float = PATIENCE, **arguments: Any) -> Any:
        """Return a command's result."""
        self.send(command, **arguments)
        return self.result(patience)

    def send(self, command: str, **arguments: Any) -> None:
        """Give a command whose result is fetched later."""
        self._unanswered += 1
        try:
            self.popen.stdin.write(jsonlines.dumps({'command': command, **arguments}))
            self.popen.stdin.flush()
        except BrokenPipeError:
            raise self.complain(f'no answer to {command}') from None

    def result(self, patience: float = PATIENCE) -> Any:
        """Return the result of the oldest command whose result was not fetched."""
        line = self.output.line(patience)
        if line is None:
            raise self.complain('no answer')
        self._unanswered -= 1
        answer = jsonlines.loads(line)
        if 'error' in answer:
            raise RemoteError(answer['error'])
        return answer['result']

    def ready(self, patience: float) -> bool:
        """Return whether an answer comes within `patience` seconds."""
        return bool(select.select([self.popen.stdout], [], [], patience)[0])
