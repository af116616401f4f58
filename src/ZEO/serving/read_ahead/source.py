"""Where records come from that a client has not asked for.

Enters: oids. Leaves: their current records, as the clients of the storage may see them now: each
is to be sent in the same go in which it is read. Fails: never; what cannot be read is not sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ZODB.utils import maxtid

from ZEO.net.loop import ENDS

Found = tuple[bytes, bytes, Any]  # data, tid, end tid or None


class Source(Protocol):
    """The records of one storage, for one client; all in the loop's thread."""

    #: Whether :meth:`may_come` has to be asked for what to name; else anything may be named.
    is_choosy: bool

    #: Whether there may be more than what is at hand.
    fetches: bool

    def at_hand(self, oid: bytes) -> Found | None:
        """Return the current record of an object; None if it cannot be read at once."""

    def may_come(self, oid: bytes) -> bool:
        """Return whether an object is at hand, or :meth:`fetch` may bring it."""

    def fetch(self, oids: list[bytes], over: Callable[[], None]) -> None:
        """Bring what is not at hand, in other threads, and call `over` then: what could be brought
        is at hand, for a moment.
        """

    def used(self, oids: list[bytes]) -> None:
        """The client has used objects that it was sent, or has asked for them."""


class LocalSource:
    """A storage that is asked in the loop's thread: everything is at hand.

    :param load_now: its loadBefore.
    """

    is_choosy = fetches = False

    def __init__(self, load_now: Callable[[bytes, bytes], Found | None]) -> None:
        self._load_now = load_now

    def at_hand(self, oid: bytes) -> Found | None:
        try:
            found = self._load_now(oid, maxtid)
        except ENDS:
            raise
        except BaseException:  # the client has not asked for it, and gets the error when it does
            return None
        return found if found is not None and found[2] is None else None

    def may_come(self, oid: bytes) -> bool:
        return True

    def fetch(self, oids: list[bytes], over: Callable[[], None]) -> None:
        over()

    def used(self, oids: list[bytes]) -> None:
        """Nothing follows from that."""
