"""The calls of one client that has registered: which of them it has, and what they hold.

Enters: the names of calls. Leaves: the calls, bound to their families; at the end, everything that
these hold. Fails: a call that the client has no right to is bound to the error that says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import ReadOnlyError

from ZEO.Exceptions import AuthError
from ZEO.net.channel import Channel
from ZEO.net.loop import Loop
from ZEO.serving.access.identity import ASK
from ZEO.serving.access.rules import Right
from ZEO.serving.answers import Answers
from ZEO.serving.calls.blobs import SendingBlobs, StoringBlobs
from ZEO.serving.calls.family import Call, Client, Family
from ZEO.serving.calls.following import FollowingCalls
from ZEO.serving.calls.iterating import IteratingCalls
from ZEO.serving.calls.reading import ReadingCalls
from ZEO.serving.calls.session import SessionCalls
from ZEO.serving.calls.small_commits import SmallCommits
from ZEO.serving.calls.transactions import TransactionCalls
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.later import Later
from ZEO.serving.workers import Workers
from ZEO.wire.calls import OF_CLIENT, Does, Method, Waits

#: Every family, in the order in which they are closed.
FAMILIES: tuple[type[Family], ...] = (
    SessionCalls,
    ReadingCalls,
    TransactionCalls,
    StoringBlobs,
    IteratingCalls,
    SendingBlobs,
    FollowingCalls,
)

#: Which family has a call.
FAMILY_OF = {name: family for family in FAMILIES for name in vars(family) if name in OF_CLIENT}


#: The right that a call needs, where it is more than to read.
NEEDED = {Does.WRITES: Right.WRITE, Does.ADMINISTERS: Right.ADMIN}


def several_of(name: str) -> str:
    """Return the name of the method that makes several calls at once."""
    return f'several_{name}'


class Registered:
    """The calls of one client of one storage.

    A family is made when the client first calls something of it: most clients read only.

    :param read_only: whether it has registered for reading only.
    :param right: what it may do with the storage.
    """

    def __init__(
        self, client: Client, hosted: HostedStorage, loop: Loop, read_only: bool, right: Right
    ) -> None:
        self.hosted = hosted
        self._client = client
        self._loop = loop
        self._read_only = read_only
        self.right = right
        self._families: dict[type[Family], Family] = {}

    def bind(self, method: Method, several: bool = False) -> Call:
        """Return a call of this client.

        :param several: several calls at once, see :mod:`ZEO.wire.runs`.
        """
        refusal = self._refusal(method)
        if refusal is not None:
            # twice, since what a template has read is not checked
            return Call(method, refusal, refusal)
        name = several_of(method.name) if several else method.name
        run = getattr(self._family(FAMILY_OF[method.name]), name)
        threads = self.hosted.backend.waiting_threads
        if threads is not None and method.waits is Waits.IN_WORKER:
            run = partial(_in_worker, threads, self._client, run)
        return Call(method, method.arguments.check, run)

    def small_commits(self, answers: Answers, channel: Channel) -> SmallCommits | None:
        """Return what makes the client's usual commits; None where each message has its own way."""
        if not self.hosted.backend.takes_together or self._refusal(OF_CLIENT['vote']) is not None:
            return None
        calls = self._family(TransactionCalls)
        assert isinstance(calls, TransactionCalls)
        return SmallCommits(self._client, self.hosted, calls, answers, channel, self._loop)

    def close(self) -> None:
        """The client is gone: give back what its calls have left open."""
        for kind in FAMILIES:
            family = self._families.get(kind)
            if family is not None:
                self._loop.attempt(family.close)

    def _family(self, kind: type[Family]) -> Family:
        family = self._families.get(kind)
        if family is None:
            family = self._families[kind] = self._new(kind)
        return family

    def _new(self, kind: type[Family]) -> Family:
        if kind is StoringBlobs:
            transactions = self._family(TransactionCalls)
            assert isinstance(transactions, TransactionCalls)
            return StoringBlobs(self._client, self.hosted, self._loop, transactions)
        return kind(self._client, self.hosted, self._loop)

    def _refusal(self, method: Method) -> Callable[..., None] | None:
        """Return what raises the error for a call that the client has no right to."""
        if self._read_only and method.does is Does.WRITES:
            return partial(self._refuse, method)
        if self.right < NEEDED.get(method.does, Right.READ):
            return partial(self._deny, method)
        return None

    def _refuse(self, method: Method, *args: Any) -> None:
        raise ReadOnlyError(f'{method.name}: the storage {self.hosted.name!r} was opened read-only')

    def _deny(self, method: Method, *args: Any) -> None:
        needed, name = NEEDED[method.does], self.hosted.name
        self._client.denied(
            logging.WARNING,
            'call',
            'denied: %s of storage %s needs the right %s, and it has %s as %s',
            method.name,
            name,
            needed,
            self.right,
            self._client.identity,
        )
        raise AuthError(
            f'{method.name} of the storage {name!r} needs the right {needed}, and this client has '
            f'the right {self.right} as {self._client.identity}: {ASK}'
        )


def _in_worker(threads: Workers, client: Client, run: Callable[..., Any], *args: Any) -> Later:
    """Make a call that may wait for a network in a thread."""
    return threads.run(partial(run, *args), client)
