"""What all connections of a server share.

Enters: parts of a server. Leaves: the same, for each of its connections, and for those who show
them. Fails: never.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ZEO.net.loop import Loop
from ZEO.serving.access.access import Access
from ZEO.serving.access.proving import Passwords
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.intake import Intake


@dataclass
class Service:
    """One server, as its connections see it."""

    storages: Mapping[str, HostedStorage]
    loop: Loop
    intake: Intake  # memory for large messages
    handshake_time: float  # seconds in which a client has to register
    access: Access | None = None  # what clients may do; everything without it
    denied: Counter[str] = field(default_factory=Counter)  # how often, by what was denied
    passwords: Passwords | None = None  # by which clients may prove who they are
