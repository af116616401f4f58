"""Opening storages at the start of a server, and whether a start that failed may succeed later.

Enters: what opens a storage, or the exception of a start. Leaves: an open storage and two lines in
the log, or the error for the operator. Fails: :class:`ConfigurationError` for what an operator has
to correct, :class:`Unavailable` for the rest.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any

from transaction.interfaces import TransientError
from zc.lockfile import LockError
from ZODB.FileStorage.FileStorage import FileStorageError, FileStorageFormatError

from ZEO.Exceptions import AuthError, ConfigurationError, Unavailable
from ZEO.net.system import REAL

log = logging.getLogger('ZEO.StorageServer')

#: What Python raises for wrong code and wrong values, FileStorage for a damaged file, and a client
#: storage for a password that its server does not accept: another try fails in the same way.
_LASTING = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    FileStorageError,
    AuthError,
)

#: Errors of the system that last as well: a path names a file of the wrong kind, or is impossible,
#: or another server has the address.
_LASTING_NUMBERS = (errno.EADDRINUSE, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL)

#: The errors of a database that finds made what it was about to make, by the names that all drivers
#: give them. OperationalError is not among them: the database does not answer, or refuses; only
#: SQLite raises it for this as well, and says so.
_MADE_BY_OTHERS = {'IntegrityError', 'ProgrammingError', 'InternalError'}

#: How often a database's tables are looked for again; each time all of another server's are there,
#: so one that starts with several others needs as many.
_MORE_TRIES = 5

#: Seconds between these; making the tables takes PostgreSQL about a tenth of a second.
_BETWEEN_TRIES = 0.2


def may_pass(error: BaseException) -> bool:
    """Return whether the same start may succeed later without a change of the configuration.

    A file is locked by a server that is about to end, a directory is not mounted yet, an upstream
    server or a database is not up yet: a supervisor should try again. The same goes for an error of
    an unknown kind.
    """
    if isinstance(error, ConfigurationError):
        return isinstance(error, Unavailable)
    if isinstance(error, TransientError):
        return True
    if isinstance(error, OSError):
        return error.errno not in _LASTING_NUMBERS
    return not isinstance(error, _LASTING)


def start_error(text: str, error: BaseException) -> ConfigurationError:
    """Return the error that ends a start with `text`.

    :param error: what was raised; it decides whether the same start may succeed later.
    """
    return Unavailable(text) if may_pass(error) else ConfigurationError(text)


def one_line(error: BaseException) -> str:
    """Return an exception as one line for an operator."""
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror} ({error.filename})' if error.filename else error.strerror
    text = ' '.join(str(error).split())
    if isinstance(error, LockError):
        return f'{text}: this or another process has the database open; stop that one first'
    if isinstance(error, FileStorageFormatError):  # whose text is the path
        return 'it is not the file of a FileStorage: check the path, or restore it from a backup'
    if isinstance(error, ConfigurationError):
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def open_beside_others(open_storage: Callable[[], Any]) -> Any:
    """Return what `open_storage` returns, also when others open the same empty database meanwhile.

    RelStorage makes the tables that are missing. Of two servers that start together both see none,
    and the database refuses the second, which finds them there when it looks again.

    :raises Exception: what `open_storage` raises otherwise, or in the end.
    """
    for _ in range(_MORE_TRIES):
        try:
            return open_storage()
        except Exception as error:  # of drivers that are not known here; all others are raised
            if not _is_made_by_others(error):
                raise
            log.info('the tables are being made elsewhere, or cannot be: %s', one_line(error))
        REAL.sleep(_BETWEEN_TRIES)
    return open_storage()


def _is_made_by_others(error: Exception) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    exists = 'OperationalError' in kinds and 'already exists' in str(error)
    return exists or not _MADE_BY_OTHERS.isdisjoint(kinds)


def open_and_log(name: str, kind: str, open_storage: Callable[[], Any]) -> Any:
    """Open a storage, which may take minutes, and log that before and after.

    :param kind: the kind of storage, as far as it is known before.
    """
    log.info('opening storage %s: %s', name, kind)
    began = REAL.now()
    storage = open_storage()
    log.info(
        'storage %s is open after %.1f s: %s', name, REAL.now() - began, type(storage).__name__
    )
    return storage
