"""The life of one connection, from the greeting to its end.

Enters: messages from the channel; what other parts of the server send to the client. Leaves: calls,
made by :mod:`ZEO.serving.dispatch`; at the end, everything that the client held. Fails:
ProtocolError closes the connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ZEO.Exceptions import ProtocolError
from ZEO.net.addresses import show
from ZEO.net.channel import Channel
from ZEO.net.sources import source_of
from ZEO.serving.access.identified import Identified
from ZEO.serving.access.rules import Right
from ZEO.serving.account import Account
from ZEO.serving.answers import Answers
from ZEO.serving.calls.family import Call
from ZEO.serving.calls.registered import Registered
from ZEO.serving.calls.session import Unregistered
from ZEO.serving.calls.small_commits import SmallCommits
from ZEO.serving.dispatch import dispatch
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.read_ahead.ahead import Ahead
from ZEO.serving.service import Service
from ZEO.serving.slices import LOOK, SLICE
from ZEO.serving.visits import Visit, how_served
from ZEO.wire.calls import OF_CLIENT
from ZEO.wire.message import Codec, EchoedId, Message
from ZEO.wire.quoting import explained, quoted
from ZEO.wire.runs import Run
from ZEO.wire.session import ServerSession, status_report
from ZEO.wire.small_commits import SMALL_COMMIT, parts


class Peer(Identified):
    """One connection.

    :param open_channel: makes its channel, given the peer that the channel is to belong to.
    :param address: where it comes from.
    :param gone: called at the end.
    """

    def __init__(
        self,
        service: Service,
        session: ServerSession,
        address: object,
        open_channel: Callable[[Peer], Channel],
        gone: Callable[[Peer], None],
    ) -> None:
        super().__init__(service)
        self._session = session
        self._gone = gone
        self.address = show(address)
        self.source = source_of(address)  # the same for all connections from there
        self.label = ''  # what the client calls itself
        self.resolves = False  # whether the client resolves conflicts that the server cannot
        self.leaves = False  # whether it leaves by itself when it hears that the server stops
        self.loads = 0  # objects that it has loaded
        self.commits = 0  # transactions that it has committed
        self.account: Account  # what its transactions hold; made by register, as are these:
        self.visit: Visit
        #: Calls that it has made before, ready to be made again: by name, or by a Run.
        self.calls: dict[Any, Call] = {}
        #: What answers loadBefore at once; None before register, and for a storage on a network.
        self._load: Callable[[Message], None] | None = None
        #: The same for one that comes alone.
        self._load_one: Callable[[Message], None] | None = None
        #: What makes its usual commits, once there was one.
        self._small: SmallCommits | None = None
        self._stage: Unregistered | Registered = Unregistered(
            self, service.storages, service.passwords
        )
        self._address = address
        self._has_ended = False  # which the log says once
        self._ahead: Ahead | None = None  # what it is sent without asking
        self._channel = open_channel(self)
        self.answers = Answers(self, session, self._channel, service.loop)
        self._handshake = service.loop.later(service.handshake_time, self._is_late)
        self._channel.send(session.greeting)

    def __str__(self) -> str:
        return f'{self.address} ({self.label})' if self.label else self.address

    @property
    def codec(self) -> Codec:
        """The protocol that this client speaks."""
        return self._session.codec

    @property
    def is_registered(self) -> bool:
        """Whether it has said which storage it is a client of."""
        return isinstance(self._stage, Registered)

    @property
    def hosted(self) -> HostedStorage | None:
        """The storage that it is a client of; None until it has registered."""
        return self._stage.hosted if isinstance(self._stage, Registered) else None

    # Who it is, and what it may do.

    def authenticated(self, user: str) -> None:
        """The client has proved that it knows the secret of a user.

        :raises ProtocolError: when it has registered already.
        """
        if self.is_registered:
            raise ProtocolError('client proved who it is after register')
        self.proved(user)

    def denied(self, level: int, what: str, text: str, *args: Any) -> None:
        """Count what the client was denied, and write a line about it as :meth:`report` does.

        :param what: a word for the figures.
        """
        self._service.denied[what] += 1
        self.report(level, 'denied clients', text, *args)

    def check_right(self) -> None:
        """The rules are others now: end the connection if the client may do less than before."""
        stage = self._stage
        if not isinstance(stage, Registered):
            return
        before, now = stage.right, self.right(stage.hosted.name)
        if now < before:
            self.close(f'closed by this server: its right is now {now}, and was {before}')
        elif now > before:
            stage.right = now
            self.calls.clear()  # those that were denied are bound again

    # For the rest of the server.

    def close(self, reason: str) -> None:
        """End the connection."""
        self._channel.close(reason)

    def close_when_sent(self, reason: str) -> None:
        """The same, once the client has been sent all that waits for it."""
        self._channel.send_last(b'', reason)

    def push(self, data: bytes) -> None:
        """Send a whole frame that the client did not ask for."""
        self._channel.push(data)

    def report(self, level: int, kind: str, text: str, *args: Any) -> None:
        """Write a line about this client into the log, unless there are many of that kind."""
        self._service.loop.reports.write(level, kind, self.source, '%s: ' + text, self, *args)

    def outstanding(self, calls: int) -> None:
        """This number of slow calls is not answered yet; past the bound no more of them are
        read.
        """
        stage = self._stage
        assert isinstance(stage, Registered)
        if calls > stage.hosted.limits.slow_calls:
            self._channel.hold('slow calls')
        else:
            self._channel.release('slow calls')

    def arrived(self) -> int:
        """Return how many bytes of an unfinished large message have come."""
        return self._session.arrived

    def _wants_memory(self, size: int) -> None:
        self._service.intake.wants(self, size)

    def hold_input(self, hold: bool) -> None:
        """Read no more from this client, since there is no memory for its message now; or go on."""
        (self._channel.hold if hold else self._channel.release)('memory')

    def _is_late(self) -> None:
        self.close(
            'closed by this server: client did not register within '
            f'{self._service.handshake_time:g} s (handshake-timeout)'
        )

    # Events of the channel.

    def handle(self, messages: Iterable[Message]) -> bool:
        """Handle messages that have come.

        :returns: False where it has left some of several, for when the client has read or the
            others had their turn.
        """
        if type(messages) is tuple:  # one message: most often it is all that has come
            (message,) = messages
            name, small = message[2], self._small
            if name == 'loadBefore' and self._load_one is not None and not message[1]:
                self._load_one(message)
                return True
            try:
                if name is SMALL_COMMIT:
                    if small is None or not small.vote(message):
                        self._unusual_commit(message)
                elif name == 'tpc_finish' and small is not None and type(message[0]) is EchoedId:
                    if not small.finish(message):
                        dispatch(self, message)
                else:
                    dispatch(self, message)
            except MemoryError:
                self._service.loop.lost_task = True
                raise
            return True
        return self._several(messages)

    def _several(self, messages: Iterable[Message]) -> bool:
        channel, loop = self._channel, self._service.loop
        # as a Slice does, without a call for each message
        until, now = loop.slice(), loop.system.now
        look = min(until, now() + SLICE)
        for message in messages:
            if message[2] == 'loadBefore' and self._load is not None and not message[1]:
                self._load(message)
            else:
                dispatch(self, message)
            if channel.is_closed:
                return True
            if channel.is_full:
                return False
            if now() > look:
                if now() > until or loop.others_wait():
                    return False
                look = now() + LOOK
        return True

    def _unusual_commit(self, message: Message) -> None:
        """A transaction has come whole, and is the first one or has to go the way of each of its
        messages.
        """
        small, stage = None, self._stage
        if self._small is None and isinstance(stage, Registered):
            small = self._small = stage.small_commits(self.answers, self._channel)
        if small is None or not small.vote(message):
            for part in parts(message):
                if not self._channel.is_closed:
                    dispatch(self, part)

    def probed(self) -> None:
        """Answer a monitoring program."""
        report = {
            name: hosted.status()
            for name, hosted in self._service.storages.items()
            if self.right(name) is not Right.NOTHING
        }
        self._channel.send_last(status_report(report))

    def closed(self, reason: str) -> None:
        """The connection has ended: whatever the client held is given back."""
        attempt = self._service.loop.attempt  # each of these, whatever the others raise
        if not self._has_ended:
            self._has_ended = True
            attempt(partial(self._log_end, reason))
        attempt(self._stage.close)  # soon: others wait for what it holds
        attempt(self._session.close)
        attempt(self._handshake.cancel)
        attempt(partial(self._service.intake.left, self))
        if isinstance(self._stage, Registered):
            hosted = self._stage.hosted
            attempt(partial(hosted.peers.left, self))
            attempt(partial(hosted.sizes.left, self))
            attempt(partial(hosted.backend.forget, self))
        if self._ahead is not None:
            attempt(self._ahead.close)
        if not self._service.loop.lost_task:  # else the server closes it again, and this one, too
            attempt(partial(self._gone, self))

    def _log_end(self, reason: str) -> None:
        by_server = reason.startswith('closed by this server')
        if not isinstance(self._stage, Registered):
            self.report(
                logging.WARNING if by_server else logging.DEBUG,
                'connections that were closed',
                '%s',
                reason,
            )
            return
        holds_lock = getattr(self._stage.hosted.lock.holder, 'peer', None) is self
        if holds_lock:
            reason += '; it held the commit lock'
        self.visit.end(logging.WARNING if by_server or holds_lock else logging.INFO, reason)

    # Events of its calls.

    def bind(self, name: str | Run) -> Call:
        """Return a call that the client makes for the first time, or several of it at once.

        :raises ProtocolError: for one that there is not, or not now.
        """
        run = type(name) is Run
        method = OF_CLIENT.get(str(name))
        if method is None:
            raise ProtocolError(f'client called unknown method {quoted(name, 60)}')
        call = self.calls[name] = self._stage.bind(method, run)
        return call

    def registered(self, hosted: HostedStorage, read_only: bool, right: Right) -> None:
        """Make the client one of a storage's."""
        service, channel = self._service, self._channel
        self.account = Account(hosted.limits, service.intake.budget)
        self.resolves = hosted.client_resolves
        self.answers.slow = hosted.slow
        self.calls.clear()
        self._stage = Registered(self, hosted, service.loop, read_only, right)
        if hosted.backend.load_now is not None:
            self._load = self._load_one = self._first_load
        hosted.peers.join(self, self.codec.name, channel)
        hosted.stats.connections += 1
        self._session.registered()
        self._session.watch_memory(self._wants_memory)
        self._handshake.cancel()
        how = how_served(read_only, self.codec.name, channel.tls_subject)
        if self.is_restricted:
            how += f', with the right {right} as {self.identity}'
        self.visit = Visit(self, hosted.name, read_only, how, service.loop)

    def _first_load(self, message: Message) -> None:
        self._make_loads()(message)

    def _make_loads(self) -> Callable[[Message], None]:
        """Make what answers loads: a kilobyte, which a client that is idle does without."""
        hosted = self.hosted
        assert hosted is not None and hosted.backend.load_now is not None
        load = self._load = self.answers.loading(hosted.backend.load_now)
        self._load_one = self.answers.loading(hosted.backend.load_now, alone=True)
        return load

    def takes_ahead(self) -> None:
        """The client takes records that it has not asked for."""
        hosted = self.hosted
        if hosted is None or self._ahead or not hosted.read_ahead.is_for(self._address):
            return
        backend, answers = hosted.backend, self.answers
        self._ahead = ahead = Ahead(
            hosted.read_ahead,
            backend.source(self),
            hosted.invalidations,
            self._channel,
            self.codec,
            self._service.loop,
        )
        if backend.load_now is None:
            load = answers.loading_later(backend.load, ahead.asks, ahead.loaded)
        else:
            load = answers.loading_ahead(backend.load_now, ahead.loaded)
        self._load = self._load_one = load

    def used_ahead(self, oids: list[bytes]) -> None:
        """The client has used records that it had not asked for."""
        if self._ahead is not None:
            self._ahead.used(oids)

    def labelled(self) -> None:
        """The client has sent its label."""
        self.visit.announce()

    def lost_task(self) -> None:
        """There was no memory for a call, and it is not known what it has left undone."""
        self._service.loop.lost_task = True

    def failed_one_way(self, name: str, error: BaseException) -> None:
        """A one-way call has failed: end the connection, since what the client sends next would
        rest on it.
        """
        self.close(f'closed by this server: {name} failed: {explained(error)}')
