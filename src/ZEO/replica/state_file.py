"""What a replica remembers beside its file: whether it follows or was promoted.

Enters: the path of a replica. Leaves: a small file of JSON, replaced as a whole and synced. Fails:
OSError where it cannot be read or written; ConfigurationError where it holds something else.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field

from ZEO.Exceptions import ConfigurationError
from ZEO.files import remove_if_there
from ZEO.serving.crash_safety import sync_directory

FOLLOWING = 'following'
PROMOTED = 'promoted'


@dataclass(frozen=True)
class Remembered:
    """What is in the file.

    :param primary: the addresses of the server that is followed, or was until the promotion.
    :param tid: the last transaction at the promotion, in hexadecimal.
    :param whole: whether the replica ever had all that its primary had then.
    """

    state: str = FOLLOWING
    primary: list[str] = field(default_factory=list)
    storage: str = '1'
    tid: str | None = None
    whole: bool = False


def path_of(path: str) -> str:
    """Return where the state of the replica at `path` is."""
    return path + '.replica'


def read(path: str) -> Remembered | None:
    """Return what is remembered of the replica at `path`; None where nothing is.

    :raises OSError: when the file cannot be read.
    :raises ConfigurationError: when it does not hold the state of a replica.
    """
    try:
        with open(path_of(path), encoding='utf-8') as file:
            found = json.load(file)
        remembered = Remembered(**found)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f'{path_of(path)} does not hold the state of a replica ({error}): if {path} is to '
            'follow, remove that file; if it was promoted, open it as a FileStorage'
        ) from error
    if remembered.state not in (FOLLOWING, PROMOTED):
        raise ConfigurationError(f'{path_of(path)} names an unknown state, {remembered.state!r}')
    return remembered


def remove_unfinished(path: str) -> None:
    """Remove what a process that was killed has left of a new state; no other process may have the
    replica open.
    """
    remove_if_there(_unfinished(path))


def _unfinished(path: str) -> str:
    return path_of(path) + '.tmp'


def write(path: str, remembered: Remembered) -> None:
    """Remember this; it is on the disk when this returns, or the old state still is.

    :raises OSError: when that is not possible.
    """
    temporary = _unfinished(path)
    try:
        with open(temporary, 'w', encoding='utf-8') as file:
            json.dump(asdict(remembered), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path_of(path))
    except BaseException:
        remove_if_there(temporary)
        raise
    sync_directory(path_of(path))
