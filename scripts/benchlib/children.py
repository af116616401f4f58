"""Several processes that start working at the same moment: the parent's side and the child's.

The talk, line by line over pipes: the child says ``ready``, the parent ``go``, the child one line
of JSON when it has finished, the parent ``end``; only then does the child close its connections,
so that closing never falls into a measurement.  A child that dies makes the parent raise
ChildFailed with the child's last words.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from typing import Any

from support.processes import Address, Process


class ChildFailed(Exception):
    """A child ended without a result."""


class Stage:
    """The child's side of the talk."""

    def ready(self) -> None:
        """Say that all is prepared, and wait for the start signal."""
        print('ready', flush=True)
        sys.stdin.readline()

    def report(self, result: dict[str, Any]) -> None:
        """Give the result, and wait until the parent has read its meters."""
        print(json.dumps(result), flush=True)
        sys.stdin.readline()


class Crew:
    """The parent's side: one child per parameter set, all in the same role.

    role: a name in registry.ROLES; address: the server's; parameters: keyword arguments, per child.
    Returns from the constructor when all children are ready.
    """

    def __init__(self, role: str, address: Address, parameters: list[dict[str, Any]]):
        self.processes: list[Process] = []
        worker = [sys.executable, '-m', 'benchlib.worker', '--role', role]
        try:
            for keywords in parameters:
                arguments = json.dumps({'address': address, **keywords})
                self.processes.append(
                    Process([*worker, arguments], stdin=subprocess.PIPE, stderr=None)
                )
            for process in self.processes:
                self._line(process)
        except BaseException:
            self.end()
            raise

    def _line(self, process: Process) -> bytes:
        line = process.output.line(threading.TIMEOUT_MAX)
        if line is None:
            raise ChildFailed(f'a child ended with status {process.end()[0]}')
        return line

    def go(self) -> None:
        """Let all children begin."""
        for process in self.processes:
            process.tell(b'go\n')

    def anyone_done(self) -> bool:
        """Tell without waiting whether a child has given its result."""
        return any(process.output.ready(0) for process in self.processes)

    def results(self) -> list[dict[str, Any]]:
        """Wait for all results and return them."""
        return [json.loads(self._line(process)) for process in self.processes]

    def end(self) -> None:
        """Let the children close and end; kill what is still there after ten seconds."""
        for process in self.processes:
            with contextlib.suppress(BrokenPipeError):
                process.popen.stdin.close()
        for process in self.processes:
            process.close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()
