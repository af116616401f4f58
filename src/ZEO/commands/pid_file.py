"""The file by which other programs find a server's process.

Enters: the path that an operator has given. Leaves: a file with this process's id, for its owner
only, until the server ends. Fails: :class:`ConfigurationError` when the file cannot be written; one
that cannot be removed at the end is a line in the log.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from ZEO import files
from ZEO.config.opening import start_error

log = logging.getLogger('ZEO.runzeo')


class PidFile:
    """The file that names this process; it is never written through a symbolic link.

    It is there before storages are opened. A start that fails, perhaps since another server runs
    with the same configuration, puts back what that one had written.

    :param own: is called with the path of the new file.
    :raises ConfigurationError: when the file cannot be written.
    """

    def __init__(self, path: str, own: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._mine = f'{os.getpid()}\n'
        self._before = self._another_process()
        try:
            files.write_pid(path, self._mine)
            if own is not None:
                own(path)
        except OSError as error:
            raise start_error(
                f'cannot write the process id to {path}: {error.strerror}', error
            ) from None

    def serving(self) -> None:
        """Forget what another server had written: this start has succeeded."""
        self._before = None

    def remove(self) -> None:
        """Remove the file, unless another process has taken it over."""
        try:
            if files.read_pid(self._path) != self._mine:
                return
            if self._before is not None and self._before == self._another_process(self._before):
                files.write_pid(self._path, self._before)
            else:
                os.unlink(self._path)
        except OSError as error:  # it was removed or moved, or the directory is not this user's
            log.warning('could not remove the pid file %s: %s', self._path, error.strerror)

    def _another_process(self, text: str | None = None) -> str | None:
        """Return what the file says, or `text`, if that is the id of another live process."""
        try:
            text = files.read_pid(self._path) if text is None else text
            number = int(text)
            if number == os.getpid() or number < 1:
                return None
            os.kill(number, 0)
        except PermissionError:  # another user's
            return text
        except (OSError, ValueError, OverflowError):
            return None
        return text
