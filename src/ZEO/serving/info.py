"""What a client learns of its storage when it connects.

Enters: a hosted storage, and who asks. Leaves: the dict of ``get_info``. Fails: with what the
storage raises when it is asked what it can do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ZEO.net.loop import ENDS
from ZEO.serving import blobs
from ZEO.wire import extensions
from ZEO.wire.extensions import (
    CHAIN,
    EXACT,
    EXTENSIONS,
    FOLLOWS,
    HISTORY,
    MESSAGE_SIZE,
    PRIMARY,
    READ_AHEAD,
    REPLICA,
    ROLE,
    WHOLE,
)

if TYPE_CHECKING:
    from ZEO.serving.hosted import HostedStorage


def info(hosted: HostedStorage, client: Any) -> dict[str, Any]:
    """Return what ``get_info`` answers."""
    storage = hosted.storage
    without = hosted.backend.without_extensions
    if not hosted.read_ahead.is_on:
        without |= {READ_AHEAD}
    return {
        **hosted.sizes.for_client(client),
        'name': _name(hosted),
        'supportsUndo': bool(getattr(storage, 'supportsUndo', bool)()),
        'supports_record_iternext': hasattr(storage, 'record_iternext'),
        'interfaces': blobs.interfaces(storage),
        MESSAGE_SIZE: hosted.limits.message_size,
        EXTENSIONS: tuple(name for name in extensions.ALL if name not in without),
        **({} if getattr(storage, 'keeps_history', True) else {HISTORY: False}),
        **({} if hosted.backend.is_exact else {EXACT: False}),
        **role(hosted),
    }


def role(hosted: Any) -> dict[str, Any]:
    """Return what a client learns of the part that this server has: nothing where it never was a
    follower.
    """
    status = hosted.backend.replica_status or getattr(hosted.storage, 'replica_status', None)
    if status is None:
        return {}
    try:
        known = status()
    except ENDS:
        raise
    except BaseException as error:  # a follower that cannot say more
        hosted.loop.reports.failed('the replica cannot say its state', hosted.name, error)
        known = {}
    state = known.get('state')
    if state == 'promoted':
        return {ROLE: PRIMARY, FOLLOWS: False, WHOLE: True}
    return {
        ROLE: REPLICA,
        FOLLOWS: state == 'following',
        WHOLE: bool(known.get('whole')),
        CHAIN: known.get('chain', []),
    }


def _name(hosted: HostedStorage) -> str:
    try:
        return hosted.storage.getName()
    except ENDS:
        raise
    except BaseException as error:  # a storage's own trouble; clients only show the name
        hosted.loop.reports.failed('the storage cannot say its name', hosted.name, error)
        return hosted.name
