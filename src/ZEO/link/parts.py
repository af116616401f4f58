"""The parts of a client storage: one link for everything, or one to read and one to write.

Enters: options, the open cache, and what the storage does in certain moments. Leaves: the parts,
connected to each other. Fails: never.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from ZEO.cache.protocol import Cache
from ZEO.link.commits import Commits
from ZEO.link.following_commits import FollowingCommits
from ZEO.link.following_state import FollowingState, PrimaryState
from ZEO.link.introducing import Connected
from ZEO.link.link import Link
from ZEO.link.options import ClientOptions
from ZEO.link.primary_link import PrimaryLink
from ZEO.link.read_link import ReadLink
from ZEO.link.state import ClientState
from ZEO.net.system import System


class Events(NamedTuple):
    """What a client storage does in certain moments.

    :param connected: there is a connection to read from.
    :param connects: another primary is about to be used: it may give out oids again.
    :param missing: whether no primary was found.
    :param merge: see :class:`Commits`.
    :param check_writable: see :class:`Commits`.
    """

    connected: Callable[[Connected], None]
    connects: Callable[[], None]
    missing: Callable[[bool], None]
    merge: Callable[..., bytes]
    check_writable: Callable[[], None]


class Parts(NamedTuple):
    """What a client storage is made of.

    :param server: the link to read with.
    :param primary: the link to write with; mostly the same.
    """

    state: ClientState
    server: Link
    primary: Link
    commits: Commits


def assemble(wanted: ClientOptions, cache: Cache, events: Events, system: System) -> Parts:
    """Return the parts of a client storage."""
    if wanted.reads_elsewhere:
        return _following(wanted, cache, events, system)
    state = ClientState(cache, system)
    server = Link(wanted, state, events.connected, system)
    commits = Commits(server, state, events.merge, events.check_writable, system)
    return Parts(state, server, server, commits)


def _following(wanted: ClientOptions, cache: Cache, events: Events, system: System) -> Parts:
    state = FollowingState(cache, system)
    primary_state = PrimaryState(state, events.connects)
    primary = PrimaryLink(_to_write(wanted), primary_state, events.missing, system)
    server = ReadLink(wanted, state, events.connected, primary, system)
    commits: Any = FollowingCommits(
        primary, server, primary_state, events.merge, events.check_writable, system
    )
    return Parts(state, server, primary, commits)


def _to_write(wanted: ClientOptions) -> ClientOptions:
    """The same client in the log, as the one that writes; it registers with primaries only."""
    return dataclasses.replace(
        wanted,
        registration=dataclasses.replace(
            wanted.registration, fallback=False, purpose='writing', read_ahead=False
        ),
    )
