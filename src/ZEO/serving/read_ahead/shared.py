"""What the clients of one storage have in common, as far as it is sent ahead of their asking.

Enters: what the operator has configured; the backend. Leaves: the table of what follows what, and
the figures. Fails: ConfigurationError for another value than those that there are.
"""

from __future__ import annotations

from ZEO.Exceptions import ConfigurationError
from ZEO.serving.read_ahead.figures import Figures
from ZEO.serving.read_ahead.kinds import Kinds
from ZEO.serving.read_ahead.learnt import Learnt
from ZEO.serving.read_ahead.referrers import Referrers

#: The values of the key `read-ahead`: clients over a network only, or where the storage is on one;
#: all of them; none.
NETWORK, ALWAYS, OFF = 'network', 'always', 'off'

VALUES = NETWORK, ALWAYS, OFF


def checked(which: str) -> str:
    """Return the value.

    :raises ConfigurationError: when it is none of :data:`VALUES`.
    """
    if which not in VALUES:
        raise ConfigurationError(f'read_ahead is {which!r}: give one of {", ".join(VALUES)}')
    return which


class SharedAhead:
    """That of one storage.

    :param which: to which clients something is sent ahead, one of :data:`VALUES`.
    :param possible: whether there is where records come from.
    :param far: whether the storage is on a network itself.
    """

    def __init__(self, which: str, possible: bool, far: bool = False) -> None:
        self.is_on = possible and which != OFF
        self._always = which == ALWAYS or far
        self.learnt = Learnt()
        self.referrers = Referrers()
        self.kinds = Kinds()
        self.figures = Figures()

    def is_for(self, address: object) -> bool:
        """Return whether it is for a client at that address.

        Over a Unix socket asking again takes less time than to find out what to send, unless the
        server has to ask as well.
        """
        return self.is_on and (self._always or isinstance(address, tuple))
