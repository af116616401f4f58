"""Opening a client of a server that does not answer yet, without leaving its user in the dark.

Enters: what opens it, and how long that may take. Leaves: the client; after a second without one, a
line that says what is waited for. Fails: ClientDisconnected when the time is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ZEO.Exceptions import ClientDisconnected

Opened = TypeVar('Opened')

#: Seconds after which the line comes.
PATIENCE = 1.0


def opened(
    open_within: Callable[[float], Opened], wait: float, say: Callable[[str], object]
) -> Opened:
    """Return what `open_within` opens, which is given the seconds that it may take.

    :param wait: seconds that it may take in all.
    :param say: is called with a line when it takes long.
    :raises ClientDisconnected: when it takes longer than `wait`.
    """
    if wait <= PATIENCE:
        return open_within(wait)
    try:
        return open_within(PATIENCE)
    except ClientDisconnected as error:
        say(f'no connection yet, waiting for up to {wait:g} s: {_reason(error)}')
    try:
        return open_within(wait - PATIENCE)
    except ClientDisconnected as error:
        raise ClientDisconnected(f'no connection within {wait:g} s: {_reason(error)}') from None


def _reason(error: ClientDisconnected) -> str:
    return str(error).partition(': ')[2] or str(error)
