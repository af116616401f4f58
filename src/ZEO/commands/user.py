"""The user that a server started by root turns into.

Enters: the name or number of a user. Leaves: a process with that user's rights. Fails:
:class:`ConfigurationError` when there is no such user, or this process cannot become that user.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

from ZEO.Exceptions import ConfigurationError


class User:
    """The user that a process serves as.

    :param text: a name or number, as ``-u`` gives it; None for the user that the process has.
    :raises ConfigurationError: when there is no such user, or this process cannot become that user.
    """

    def __init__(self, text: str | None) -> None:
        self.is_other = False
        if text is None:
            return
        try:
            entry = pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
        except KeyError:
            raise ConfigurationError(f'-u {text}: there is no such user') from None
        self.name, self.uid, self.gid = entry.pw_name, entry.pw_uid, entry.pw_gid
        self.is_other = os.geteuid() != self.uid
        if self.is_other and os.geteuid() != 0:
            raise ConfigurationError(f'-u {text}: only root can serve as another user')

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """Work with this user's rights inside, so that new files belong to the user."""
        if not self.is_other:
            yield
            return
        gid, groups = os.getegid(), os.getgroups()
        os.initgroups(self.name, self.gid)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)

    def own(self, path: str) -> None:
        """Give a file to this user."""
        if self.is_other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def for_good(self) -> None:
        """Become this user; there is no way back."""
        if self.is_other:
            os.initgroups(self.name, self.gid)
            os.setgid(self.gid)
            os.setuid(self.uid)
