"""A client's message -> the peer's method -> an answer.

Enters: one message. Leaves: its reply or failure on the channel, at once, later, or as a stream.
Fails: a message that breaks the protocol raises ProtocolError, for which the channel closes;
everything else that a method raises is an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from ZODB.POSException import POSError

from ZEO.Exceptions import ProtocolError
from ZEO.net.channel import Channel
from ZEO.net.loop import ENDS, Loop
from ZEO.serving.descriptors import clear
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.later import Later, Workers
from ZEO.wire import calls
from ZEO.wire.calls import Method
from ZEO.wire.frames import frame
from ZEO.wire.messages import REPLY, Codec, EchoedId, Message
from ZEO.wire.quoting import explained, quoted

_LOAD = calls.OF_CLIENT['loadBefore'].arguments


class Streamed:
    """An answer of many messages; `chunks` makes them, given the id of the call."""

    def __init__(self, chunks: Callable[[Any], Iterator[bytes]]) -> None:
        self.chunks = chunks


class Callee(Protocol):
    """What dispatch needs of :class:`ZEO.serving.peer.Peer`, besides the methods that the table
    names.
    """

    loads: int  # objects that the client has loaded

    @property
    def codec(self) -> Codec:
        """The protocol that the client speaks."""

    def allow(self, method: Method) -> None:
        """Raise where the client may not call that."""

    def worker(self, method: Method) -> Workers | None:
        """Return the threads to run that call in, if it is not to be run in the loop's."""

    def failed_one_way(self, name: str, error: BaseException) -> None:
        """A call that nobody waits for has failed."""

    def report(self, level: int, kind: str, text: str, *args: Any) -> None:
        """Write a line about this client into the log, unless there are many of that kind."""

    def outstanding(self, calls: int) -> None:
        """So many slow calls of the client are not answered yet."""


def dispatch(peer: Callee, channel: Channel, loop: Loop, message: Message) -> None:
    """Have `peer` do what `message` says, and send the answer."""
    message_id, one_way, name, args = message
    method = calls.OF_CLIENT.get(name)
    if method is None:
        if name == REPLY:  # a keep-alive
            return
        raise ProtocolError(f'it called {quoted(name, 60)}, which is no call')
    try:
        peer.allow(method)
        if type(message_id) is not EchoedId:  # others were read by a template
            method.arguments.check(args)
        handler = getattr(peer, name)
        workers = peer.worker(method)
        result = handler(*args) if workers is None else workers.run(partial(handler, *args), peer)
    except (ProtocolError, *ENDS):
        raise
    # The one boundary where everything a storage may raise becomes an answer to the client.
    except BaseException as error:
        _failed(peer, channel, message_id, one_way, name, error)
        return
    if one_way:
        return
    if type(result) is Later:
        result.then(
            lambda value: _reply(peer, channel, loop, message_id, method, value),
            lambda error: _failed(peer, channel, message_id, False, name, error),
        )
    else:
        _reply(peer, channel, loop, message_id, method, result)


def answer_load(
    peer: Callee, channel: Channel, codec: Codec, hosted: HostedStorage, message: Message
) -> None:
    """Answer a loadBefore, which most calls are: it needs few of the steps of :func:`dispatch`."""
    message_id, _, name, args = message
    peer.loads += 1
    try:
        # without a call: with M5 all loads come here
        if type(message_id) is not EchoedId and not (
            len(args) == 2
            and type(args[0]) is type(args[1]) is bytes
            and len(args[0]) == len(args[1]) == 8
        ):
            _LOAD.check(args)
        found = hosted.load_before(*args)
        if found is None:
            channel.send(frame(codec.reply(message_id, None)))
        else:
            for piece in codec.loaded(message_id, *found):
                channel.send(piece)
    except ENDS:
        raise
    # As in dispatch.
    except BaseException as error:
        _failed(peer, channel, message_id, False, name, error)


def _reply(
    peer: Callee, channel: Channel, loop: Loop, message_id: Any, method: Method, result: Any
) -> None:
    if loop.has_posts and not method.goes_first:
        # A storage's own thread may have told of a change that this result is newer than. But a
        # load's answer goes first: a revision that the change ended would come behind it as
        # current. The other way round is harmless, since no invalidation ends a newer revision.
        # So does register's: a client takes what comes in front of it for all that it has missed.
        loop.take_posts()
    if channel.is_closed:
        return
    if type(result) is Streamed:
        channel.stream(result.chunks(message_id))
        return
    try:
        data = peer.codec.reply(message_id, result)
    # A storage's own objects may refuse to be encoded in any way they like.
    except Exception as error:
        _failed(peer, channel, message_id, False, method.name, error)
    else:
        channel.send(frame(data))


def _failed(
    peer: Callee, channel: Channel, message_id: Any, one_way: bool, name: str, error: BaseException
) -> None:
    error = clear(error)
    if one_way:
        peer.failed_one_way(name, error)
        return
    if not isinstance(error, (POSError, KeyError, ValueError)):
        peer.report(logging.ERROR, 'failed calls', '%s failed: %s', name, explained(error))
    if not channel.is_closed:
        channel.send(frame(_failure(peer.codec, message_id, error)))


def _failure(codec: Codec, message_id: Any, error: BaseException) -> bytes:
    """The answer that tells of `error`; one that can't be sent in its own words is told as a
    text.
    """
    try:
        return codec.failure(message_id, error)
    except Exception:  # what a description lets through, an encoding may refuse
        return codec.failure(message_id, Exception(explained(error)))
