"""Child processes that a test talks to, and that always end.

Enters: the module a child runs and its commands.  Leaves: the results.  Fails: a command that
fails in the child raises :class:`RemoteError`; a child that is silent for too long, or has died,
raises :class:`ProcessFailed` with the end of what it has said.
"""

from __future__ import annotations

import subprocess
from typing import Any

from support import jsonlines
from support.processes import PATIENCE, Process, ProcessFailed
from support.sides import Side


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


class SideProcess(Process):
    """A process of one side, which ends when its input does."""

    def __init__(self, side: Side, args: list[str], **options: Any) -> None:
        """Start it.

        :param args: the command line; an argument ``python`` in first place is the side's own.
        :param options: for :class:`subprocess.Popen`.
        """
        if args[0] == 'python':
            args = [side.python, *args[1:]]
        self.side = side
        options.setdefault('env', side.environ())
        super().__init__(args, stdin=subprocess.PIPE, **options)

    def failure(self, what: str) -> ProcessFailed:
        """Return an error that names the side, too."""
        return super().failure(f'{self.side.name}: {what}')


class Child(SideProcess):
    """A process that runs one of our command modules."""

    def __init__(self, side: Side, module: str, **options: Any) -> None:
        """Start ``python -m module``."""
        super().__init__(side, ['python', '-m', module], **options)
        self._unanswered = 0

    @property
    def is_idle(self) -> bool:
        """Whether it runs and has answered everything."""
        return self.runs and not self._unanswered

    def call(self, command: str, patience: float = PATIENCE, **arguments: Any) -> Any:
        """Return a command's result."""
        self.send(command, **arguments)
        return self.result(patience)

    def send(self, command: str, **arguments: Any) -> None:
        """Give a command whose result is fetched later."""
        self._unanswered += 1
        try:
            self.tell(jsonlines.dumps({'command': command, **arguments}))
        except BrokenPipeError:
            raise self.failure(f'no answer to {command}') from None

    def result(self, patience: float = PATIENCE) -> Any:
        """Return the result of the oldest command whose result was not fetched."""
        line = self.output.line(patience)
        if line is None:
            raise self.failure('no answer')
        self._unanswered -= 1
        answer = jsonlines.loads(line)
        if 'error' in answer:
            raise RemoteError(answer['error'])
        return answer['result']

    def ready(self, patience: float) -> bool:
        """Return whether an answer comes within `patience` seconds."""
        return self.output.ready(patience)
