"""The way of every answer to one client: a result, one that comes later, a stream, a failure.

Enters: the id of a call, and its outcome. Leaves: messages on the client's channel. Fails:
MemoryError in the call of a client, whose channel is closed then; else never: a result that cannot
be encoded is answered as a failure, and a client that cannot be answered later is sent away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from ZODB.POSException import POSError

from ZEO.net.channel import Channel
from ZEO.net.channel_ends import reason_of
from ZEO.net.loop import ENDS, Loop
from ZEO.serving.later import Later
from ZEO.serving.own_errors import for_client
from ZEO.serving.slow import SlowLog
from ZEO.wire.calls import OF_CLIENT, Method
from ZEO.wire.frames import frame
from ZEO.wire.message import EchoedId, Message
from ZEO.wire.quoting import explained
from ZEO.wire.session import ServerSession

Found = tuple[bytes, bytes, Any]  # data, tid, end tid or None


#: Calls that make a transaction permanent.
_COMMITS = 'tpc_finish', 'commit_after'


class Streamed:
    """An answer of many messages; `chunks` makes them, given the id of the call."""

    def __init__(self, chunks: Callable[[Any], Iterator[bytes]]) -> None:
        self.chunks = chunks


class Client(Protocol):
    """The client that is answered."""

    loads: int  # objects that it has loaded

    def report(self, level: int, kind: str, text: str, *args: Any) -> None:
        """Write a line about this client into the log, unless there are many of that kind."""


class Answers:
    """The answers to one client."""

    def __init__(
        self, client: Client, session: ServerSession, channel: Channel, loop: Loop
    ) -> None:
        self._client = client
        self._session = session
        self._channel = channel
        self._loop = loop
        self.slow: SlowLog | None = None  # that of its storage, once it has registered

    def answer(self, message_id: Any, method: Method, result: Any) -> None:
        """Answer a call with what it has returned."""
        kind = type(result)
        if kind is Later:
            outcome = result.outcome
            if outcome is not None and outcome[0]:  # as that of a vote that did not wait
                self.answer(message_id, method, outcome[1])
                return
            result.then(
                partial(self._answer_later, message_id, method, result, self._loop.system.now()),
                partial(self.fail, message_id, method),
            )
            return
        if self._loop.posted and not method.goes_first:
            # A storage's own thread may have posted a change that this result already includes. The
            # answer to a load goes first, though: it may be a revision that the change ends, which
            # the client would keep as current if it came after the change. The other way round is
            # harmless, since no invalidation ends a newer revision. The answer to register goes
            # first, too: a client takes what comes before it for everything that it has missed.
            self._loop.run_posted()
        if self._channel.is_closed:
            return
        if kind is Streamed:
            self._channel.stream(result.chunks(message_id))
            return
        try:
            data = self._session.codec.reply(message_id, result)
        except MemoryError:  # it is no failure of the call, which may have committed something
            raise
        # A storage's own objects may refuse to be encoded in any way they like.
        except Exception as error:
            self.fail(message_id, method, error)
        else:
            self._channel.send(frame(data))

    def _answer_later(
        self, message_id: Any, method: Method, later: Later, asked: float, result: Any
    ) -> None:
        """The same; nothing is raised. A client that cannot be answered is sent away: it would wait
        without end.
        """
        try:
            slow = self.slow
            if slow is not None:
                took, begun = self._loop.system.now() - asked, later.begun
                slow.call(method, self._client, took, max(0.0, begun - asked) if begun else None)
            self.answer(message_id, method, result)
        except ENDS:
            raise
        except BaseException as error:
            self._channel.close(reason_of(error))

    def loading(
        self, load_now: Callable[[bytes, bytes], Found | None], alone: bool = False
    ) -> Callable[[Message], None]:
        """Return what makes and answers a loadBefore, which most calls are.

        It does what :func:`~ZEO.serving.dispatch.dispatch` and :meth:`answer` do in one Python call
        instead of five, with half of the bytecodes: a fifth of what a server does for a load.

        :param load_now: the storage's loadBefore.
        :param alone: whether it is for a call that came alone, so that nothing follows its answer.
        """
        client, channel, codec = self._client, self._channel, self._session.codec
        method = OF_CLIENT['loadBefore']
        send_one = channel.answer if alone else channel.send

        def load(message: Message) -> None:
            message_id, _, _, args = message
            client.loads += 1
            try:
                if type(message_id) is not EchoedId:  # else a template has looked at the arguments
                    # in place, where a call would take as long as all of this: with M5 all do this
                    oid, tid = args if len(args) == 2 else (None, None)
                    if not (type(oid) is type(tid) is bytes and len(oid) == 8 == len(tid)):
                        method.arguments.check(args)
                found = load_now(*args)
                if found is None:
                    channel.send(frame(codec.reply(message_id, None)))
                else:
                    pieces = codec.loaded(message_id, *found)
                    if len(pieces) == 1:
                        send_one(pieces[0])
                    else:
                        for piece in pieces:
                            channel.send(piece)
            except ENDS:
                raise
            # As in dispatch: whatever a storage may raise is the answer.
            except BaseException as error:
                self.fail(message_id, method, error)

        return load

    def loading_ahead(
        self,
        load_now: Callable[[bytes, bytes], Found | None],
        loaded: Callable[[bytes, Found], None],
    ) -> Callable[[Message], None]:
        """Return the same for a client that is sent more than it asks for.

        :param loaded: is called behind an answer with the oid and the record that was found.
        """
        found: Found | None = None

        def noting(oid: bytes, tid: bytes) -> Found | None:
            nonlocal found
            found = load_now(oid, tid)
            return found

        answer = self.loading(noting)

        def load(message: Message) -> None:
            nonlocal found
            found = None
            answer(message)
            if found is not None:
                loaded(message[3][0], found)

        return load

    def loading_later(
        self,
        load: Callable[[bytes, bytes, Any], Found | None | Later],
        asks: Callable[[bytes], None],
        loaded: Callable[[bytes, Found, bool], None],
    ) -> Callable[[Message], None]:
        """Return the same where the record may come later.

        :param load: the storage's loadBefore, for a client.
        :param asks: is called before that, with the oid.
        """
        client, method = self._client, OF_CLIENT['loadBefore']
        now = self._loop.system.now

        def later(message: Message, answer: Later, asked: float, found: Found | None) -> None:
            self._answer_later(message[0], method, answer, asked, found)
            if found is not None and not self._channel.is_closed:
                loaded(message[3][0], found, True)

        def run(message: Message) -> None:
            message_id, _, _, args = message
            try:
                if type(message_id) is not EchoedId:
                    method.arguments.check(args)
                oid, tid = args
                asks(oid)
                found = load(oid, tid, client)
            except ENDS:
                raise
            # As in dispatch: whatever a storage may raise is the answer.
            except BaseException as error:
                self.fail(message_id, method, error)
                return
            if isinstance(found, Later):
                found.then(
                    partial(later, message, found, now()), partial(self.fail, message_id, method)
                )
                return
            self.answer(message_id, method, found)
            if found is not None:
                loaded(oid, found, True)

        return run

    def fail(self, message_id: Any, method: Method, error: BaseException) -> None:
        """Answer a call with what it has raised. A client that can be sent nothing is sent away: it
        would wait without end. So is one whose commit may be permanent in spite of the error.
        """
        try:
            if isinstance(error, MemoryError) and method.name in _COMMITS:
                raise error
            self._fail(message_id, method, error)
        except ENDS:
            raise
        except BaseException as failure:
            self._channel.close(reason_of(failure))

    def _fail(self, message_id: Any, method: Method, error: BaseException) -> None:
        if not isinstance(error, (POSError, KeyError, ValueError)):
            self._client.report(
                logging.ERROR, 'failed calls', '%s failed: %s', method.name, explained(error)
            )
        if not self._channel.is_closed:
            self._channel.send(frame(self._failure(message_id, for_client(error))))

    def _failure(self, message_id: Any, error: BaseException) -> bytes:
        """The answer that describes `error`, as a plain text if its arguments cannot be encoded."""
        codec = self._session.codec
        try:
            return codec.failure(message_id, error)
        except Exception:  # what a description lets through, an encoding may refuse
            return codec.failure(message_id, Exception(explained(error)))
