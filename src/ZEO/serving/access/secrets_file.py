"""The file of verifiers that ``zeo passwd`` writes and a server reads.

Enters: a path, and what is to change. Leaves: the verifiers of all users; a file that is either the
old or the new one, whatever happens in between. Fails: ConfigurationError that names the file and
the line, and quotes nothing of it.

The first line has the format's name, and a key of the file's own from which salts are made, also
those of users that there are not. Each other line is one user::

    NAME:ITERATIONS:SALT:STORED KEY:SERVER KEY
"""

from __future__ import annotations

import fcntl
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ZEO import files
from ZEO.Exceptions import ConfigurationError
from ZEO.net.system import REAL, System
from ZEO.wire import scram
from ZEO.wire.scram import Verifier

#: How the first line begins; the number is the version of the format.
_FORMAT = 'zeo-passwords 1'

#: Bytes of the file's own key, and of each key of a user.
_KEY = 32

#: Bytes that the file may have: a hundred thousand users.
_MOST = 20 * 2**20

#: Seconds that another process may take for its change, which takes a tenth of a second.
_PATIENCE = 10.0

#: The bits of a mode that let others than the owner read or write.
_OTHERS = 0o077


@dataclass
class Kept:
    """What the file holds."""

    key: bytes = field(default_factory=lambda: os.urandom(_KEY), repr=False)
    verifiers: dict[str, Verifier] = field(default_factory=dict, repr=False)


def read(path: str) -> Kept:
    """Return what the file at `path` holds.

    :raises ConfigurationError: when there is none, others may read it, or it is damaged.
    """
    with _as_configuration(path):
        fd = files.open_regular(files.followed(path), os.O_RDONLY)
    try:
        return _read(fd, path)
    finally:
        os.close(fd)


@contextmanager
def change(path: str, may_create: bool, system: System = REAL) -> Iterator[Kept]:
    """Let the caller change what the file holds; it is written at the end, unless an exception is
    raised inside. Other processes wait meanwhile.

    :param may_create: whether there need not be a file yet.
    :raises ConfigurationError: as :func:`read` does; and when it cannot be written.
    """
    with _as_configuration(path):
        target = files.followed(path)
    with _locked(target, path, may_create, system) as fd:
        is_new = may_create and os.fstat(fd).st_size == 0
        kept = Kept() if is_new else _read(fd, path)
        yield kept
        with _as_configuration(path):
            _replace(target, fd, _text(kept))


@contextmanager
def _as_configuration(path: str) -> Iterator[None]:
    """Say which file it is in an error of the operating system."""
    try:
        yield
    except FileNotFoundError:
        directory = os.path.dirname(path) or '.'
        if not os.path.isdir(directory):
            raise ConfigurationError(
                f'the password file {path}: there is no directory {directory}: create it first'
            ) from None
        raise ConfigurationError(
            f'the password file {path} does not exist: "zeo passwd {path} USER" makes it'
        ) from None
    except OSError as error:
        raise ConfigurationError(f'the password file {path}: {error.strerror or error}') from None


# Reading.


def _read(fd: int, path: str) -> Kept:
    with _as_configuration(path):
        found = os.fstat(fd)
        if found.st_mode & _OTHERS:
            raise ConfigurationError(
                f'the password file {path} is open to others than its owner (mode '
                f'{found.st_mode & 0o777:04o}): chmod 600 it; if others may have read it, set new '
                'passwords'
            )
        data = os.pread(fd, _MOST + 1, 0)
    if len(data) > _MOST:
        raise ConfigurationError(f'the password file {path} is larger than {_MOST} bytes')
    try:
        lines = data.decode('utf-8').splitlines()
    except UnicodeDecodeError:
        raise ConfigurationError(f'the password file {path} is not UTF-8') from None
    return _parsed(lines, path)


def _parsed(lines: list[str], path: str) -> Kept:
    first, _, key = (lines or [''])[0].rpartition(' ')
    if first != _FORMAT or len(_decoded(key)) != _KEY:
        raise ConfigurationError(
            f'{path} is not a password file of this version, whose first line begins with '
            f'"{_FORMAT}": "zeo passwd" makes one'
        )
    kept = Kept(_decoded(key))
    for number, line in enumerate(lines[1:], 2):
        name, verifier = _of_line(line)
        if verifier is None or name in kept.verifiers:
            raise ConfigurationError(
                f'{path}, line {number}: not a line of a user, or the second one for this name; '
                'remove it, and set the password again with "zeo passwd"'
            )
        kept.verifiers[name] = verifier
    return kept


def _of_line(line: str) -> tuple[str, Verifier | None]:
    """Return the user of a line, and None where it is none."""
    parts = line.split(':')
    if len(parts) != 5 or not _is_name(parts[0]):
        return '', None
    name, iterations, salt, stored, server = parts
    number = int(iterations) if re.fullmatch('[1-9][0-9]{0,9}', iterations) else 0
    found = Verifier(number, _decoded(salt), _decoded(stored), _decoded(server))
    good = (
        scram.LEAST_ITERATIONS <= number <= scram.MOST_ITERATIONS
        and scram.LEAST_SALT <= len(found.salt) <= scram.MOST_SALT
        and len(found.stored_key) == len(found.server_key) == _KEY
    )
    return name, found if good else None


def _is_name(text: str) -> bool:
    try:
        return scram.checked_name(text) == text
    except ValueError:
        return False


def _decoded(text: str) -> bytes:
    """Return what a text in base64 stands for; nothing where it is none."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b''


# Writing.


def _text(kept: Kept) -> bytes:
    lines = [f'{_FORMAT} {_encoded(kept.key)}']
    lines += [
        f'{name}:{found.iterations}:{":".join(map(_encoded, found[1:]))}'
        for name, found in sorted(kept.verifiers.items())
    ]
    return '\n'.join([*lines, '']).encode('utf-8')


def _encoded(data: bytes) -> str:
    return b64encode(data).decode('ascii')


@contextmanager
def _locked(target: str, path: str, may_create: bool, system: System) -> Iterator[int]:
    """Hold the lock of the file, which each change replaces: that of the one which is there now."""
    until = system.now() + _PATIENCE
    while True:
        with _as_configuration(path):
            fd = files.open_regular(target, os.O_RDWR | (os.O_CREAT if may_create else 0))
        try:
            if _try_to_lock(fd) and _is_at(target, fd):
                yield fd
                return
        finally:
            os.close(fd)
        if system.now() > until:
            raise ConfigurationError(
                f'another process has been changing {path} for {_PATIENCE:.0f} s: try again later'
            )
        system.sleep(0.02)


def _try_to_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _replace(target: str, old: int, data: bytes) -> None:
    """Put a file with this content, and with owner and mode of the old one, in its place."""
    new = f'{target}.new'
    files.remove_if_there(new)  # of a process that was killed: this one holds the lock
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            owner, mine = os.fstat(old), os.fstat(fd)
            if (owner.st_uid, owner.st_gid) != (mine.st_uid, mine.st_gid):
                os.fchown(fd, owner.st_uid, owner.st_gid)
            os.fchmod(fd, owner.st_mode & 0o700)
            with open(fd, 'wb', closefd=False) as file:
                file.write(data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(new, target)
    except BaseException:
        files.remove_if_there(new)
        raise
    _sync_directory(os.path.dirname(target) or '.')


def _sync_directory(path: str) -> None:
    """Have the new name outlive a crash of the machine."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
