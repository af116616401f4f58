"""What ``zeo certs`` has left in its directory when it was killed.

Enters: the directory of an authority, which no other process uses. Leaves: each certificate there
with its own key, and no new file that has not got its name. Fails: OSError where the directory
cannot be written.
"""

from __future__ import annotations

import os
import re

from ZEO import files
from ZEO.commands import certificates

#: A file that is written and has not got its name yet.
_NEW = re.compile(r'\.(?P<name>.+)\.(?P<end>key|pem|txt)\.new')

#: Bytes of a certificate or key that are looked at.
_MOST = 2**20


def new_name(name: str) -> str:
    """Return the name that a file has until it is whole."""
    return f'.{name}.new'


def finish(directory: str) -> None:
    """Give a new certificate its name where its key has got it already; remove all other new files.

    A link or anything else in the place of such a file stays: writing that file refuses it.
    """
    for name in sorted(os.listdir(directory)):
        found = _NEW.fullmatch(name)
        path = os.path.join(directory, name)
        if found is None or os.path.islink(path) or not os.path.isfile(path):
            continue
        whole = os.path.join(directory, found['name'])
        if found['end'] == 'pem' and _belongs(path, f'{whole}.key'):
            os.replace(path, f'{whole}.pem')
        else:
            os.unlink(path)


def _belongs(certificate: str, key: str) -> bool:
    try:
        return certificates.belong_together(_read(certificate), _read(key))
    except FileNotFoundError:
        return False


def _read(path: str) -> bytes:
    with open(path, 'rb', opener=files.opened) as file:
        return file.read(_MOST)
