"""A client's message -> the call that it names -> an answer.

Enters: one message. Leaves: its answer, through :mod:`ZEO.serving.answers`. Fails: a message that
breaks the protocol raises ProtocolError, and the channel closes; everything else that a call raises
is an answer.
"""

from __future__ import annotations

from typing import Any, Protocol

from ZEO.Exceptions import ProtocolError
from ZEO.net.loop import ENDS
from ZEO.serving.answers import Answers
from ZEO.serving.calls.family import Call
from ZEO.serving.own_errors import for_client
from ZEO.wire.message import REPLY, EchoedId, Message
from ZEO.wire.runs import Run

#: Calls that may have been half done: of a transaction, or of what holds the commit lock.
_HALF_DONE = frozenset(('tpc_begin', 'vote', 'tpc_finish', 'tpc_abort', 'commit_after', 'pack'))


class Callee(Protocol):
    """What dispatch needs of :class:`ZEO.serving.peer.Peer`."""

    calls: dict[Any, Call]  # those that the client has made before, by name or by a Run
    answers: Answers

    def bind(self, name: str | Run) -> Call:
        """Return a call that the client makes for the first time, or several of it at once.

        :raises ProtocolError: for one that there is not, or not now.
        """

    def failed_one_way(self, name: str, error: BaseException) -> None:
        """A one-way call has failed."""

    def lost_task(self) -> None:
        """There was no memory for a call, and it is not known what it has left undone."""


def dispatch(peer: Callee, message: Message) -> None:
    """Make the call that `message` is, and answer it."""
    message_id, one_way, name, args = message
    call = peer.calls.get(name)
    if call is None:
        if name == REPLY:  # a keep-alive
            return
        call = peer.bind(name)
    method, check, run = call
    if one_way and method.answered:
        raise ProtocolError(f'client called {name} without waiting for its answer')
    try:
        # messages with an echoed id were read by a template, which has looked at the arguments
        if type(message_id) is not EchoedId:
            check(args)
        result = run(*args)
    except (ProtocolError, *ENDS):
        raise
    # The one boundary where everything a storage may raise becomes an answer to the client.
    except BaseException as error:
        if name in _HALF_DONE and isinstance(error, MemoryError):
            peer.lost_task()  # it is not known what was left undone
            raise
        if one_way:
            peer.failed_one_way(name, for_client(error))
        else:
            peer.answers.fail(message_id, method, error)
        return
    if not one_way:
        peer.answers.answer(message_id, method, result)
