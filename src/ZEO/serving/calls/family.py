"""What the families of calls have in common.

Enters: the client that calls, and the storage that it has registered for. Leaves: methods, each of
which returns the result of one call, or a :class:`~ZEO.serving.later.Later` or
:class:`~ZEO.serving.answers.Streamed`. Fails: what a method raises is answered as a fault;
ProtocolError closes the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ZEO.net.loop import Loop
from ZEO.serving.access.identity import Identity
from ZEO.serving.access.rules import Right
from ZEO.serving.account import Account
from ZEO.serving.hosted import HostedStorage
from ZEO.wire.calls import Method
from ZEO.wire.message import Codec


class Call(NamedTuple):
    """One call of one client, ready to be made."""

    method: Method
    check: Callable[[Any], None]  # raises where its arguments, or the call, are not accepted
    run: Callable[..., Any]


class Client(Protocol):
    """What the calls need of :class:`ZEO.serving.peer.Peer`."""

    address: str  # where it has connected from
    label: str  # what it calls itself
    loads: int  # objects that it has loaded
    commits: int  # transactions that it has committed
    leaves: bool  # whether it leaves by itself when it hears that the server stops
    resolves: bool  # whether it resolves conflicts that the server cannot

    @property
    def guesser(self) -> str:
        """Whose wrong passwords are counted together."""

    @property
    def codec(self) -> Codec:
        """The protocol that the client speaks."""

    @property
    def account(self) -> Account:
        """What its transactions hold."""

    def close(self, reason: str) -> None:
        """End its connection."""

    def tls_binding(self) -> bytes | None:
        """Return what its TLS connection is recognised by."""

    def takes_ahead(self) -> None:
        """The client takes records that it has not asked for."""

    def used_ahead(self, oids: list[bytes]) -> None:
        """The client has used records that it had not asked for."""

    def labelled(self) -> None:
        """The client has said what it calls itself."""

    @property
    def identity(self) -> Identity:
        """Who the client is, as far as that is proved."""

    @property
    def may_see_lines(self) -> bool:
        """Whether it may read the log, which is about clients of every storage."""

    @property
    def is_restricted(self) -> bool:
        """Whether there are rules that say what it may do."""

    def denied(self, level: int, what: str, text: str, *args: Any) -> None:
        """Count what the client was denied, and write a line about it, unless there are many."""

    def authenticated(self, user: str) -> None:
        """The client has proved that it knows the secret of that user."""

    def right(self, storage: str) -> Right:
        """Return what the client may do with the storage of that name, if there is one."""

    def registered(self, hosted: HostedStorage, read_only: bool, right: Right) -> None:
        """The client is one of that storage's from now on."""

    def report(self, level: int, kind: str, text: str, *args: Any) -> None:
        """Write a line about this client into the log, unless there are many of that kind."""

    def outstanding(self, calls: int) -> None:
        """This number of slow calls of the client is not answered yet."""


class Family:
    """Some calls of one client that has registered."""

    def __init__(self, client: Client, hosted: HostedStorage, loop: Loop) -> None:
        self._client = client
        self._hosted = hosted
        self._loop = loop

    def close(self) -> None:
        """The client is gone: give back what it has open."""
