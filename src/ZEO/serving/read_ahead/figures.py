"""What came of read-ahead, for all clients of a storage.

Enters: events, as plain increments. Leaves: figures by their names. Fails: never.
"""

from __future__ import annotations


class Figures:
    """Counters since the server's start."""

    def __init__(self) -> None:
        self.clients = 0  # that take what is sent ahead, now
        self.sent = 0  # records
        self.bytes = 0  # of those
        self.used = 0  # of those
        self.wasted = 0  # records that a client did not use in time
        self.stopped = 0  # how often a client was sent nothing more, since it used too little

    def report(self) -> dict[str, int]:
        """Return the figures by the names that monitoring programs know."""
        return {
            'clients': self.clients,
            'sent': self.sent,
            'bytes': self.bytes,
            'used': self.used,
            'wasted': self.wasted,
            'stopped': self.stopped,
        }
