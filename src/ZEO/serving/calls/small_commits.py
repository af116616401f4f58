"""The usual commit, straight through: a small transaction that came whole, and then its finish.

Enters: a message that stands for a transaction's beginning, its stores and its vote
(:mod:`ZEO.wire.small_commits`); a ``tpc_finish`` that came alone. Leaves: their answers, each in
one send, that of the finish with the storage's size in front. Fails: as the calls do that it stands
for.

Where the client has no other transaction, and the commit lock is free, nothing of a transaction has
to be kept: its records go to the storage as they have come, without a log and an account. Where the
lock is not free, a transaction waits as it has come, if the memory that each one has is enough for
it. In all other cases, and from the first one on where something is unusual, the way is that of
each message.
"""

from __future__ import annotations

from typing import Any

from ZEO.Exceptions import ProtocolError
from ZEO.net.channel import Channel
from ZEO.net.loop import ENDS, Loop
from ZEO.serving.account import FIRST_OPERATIONS
from ZEO.serving.answers import Answers
from ZEO.serving.calls.family import Client
from ZEO.serving.calls.transactions import TransactionCalls
from ZEO.serving.commit import Commit
from ZEO.serving.commit.phases import VOTED, WAITING, prepare
from ZEO.serving.doors import Metadata
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.later import Later
from ZEO.wire.calls import OF_CLIENT
from ZEO.wire.frames import frame
from ZEO.wire.message import Message

_VOTE, _FINISH = OF_CLIENT['vote'], OF_CLIENT['tpc_finish']


class SmallCommits:
    """Those of one client.

    :param calls: of the same client, for all other transactions.
    """

    def __init__(
        self,
        client: Client,
        hosted: HostedStorage,
        calls: TransactionCalls,
        answers: Answers,
        channel: Channel,
        loop: Loop,
    ) -> None:
        self._client = client
        self._codec = client.codec
        self._hosted = hosted
        self._calls = calls
        self._commits = calls.open.commits
        self._answers = answers
        self._channel = channel
        self._loop = loop

    def vote(self, message: Message) -> bool:
        """Begin a transaction, have the storage take and vote on it, and answer.

        :returns: False for one that has to go the way of each message; nothing was done then.
        """
        hosted, client = self._hosted, self._client
        message_id, _, _, (number, user, description, extension, stores) = message
        has_to_wait = hosted.lock.holder is not None
        if self._commits or (has_to_wait and not self._may_wait(stores)):
            return False
        metadata = Metadata.of_bytes(user, description, extension)
        commit = Commit(hosted, client, metadata, None, ' ', client.resolves)
        commit.together = stores
        commit.asked = commit.begun
        if has_to_wait:
            self._wait(message, commit)
            return True
        self._commits[number] = commit
        hosted.lock.take(commit, client)
        try:
            commit.start_timer()
            prepare(commit)
        except (ProtocolError, MemoryError, *ENDS):  # the second: what was left undone is not known
            raise
        # as in dispatch: whatever a storage may raise is the answer
        except BaseException as error:
            if not commit.phase.is_over:  # it would keep the lock
                commit.end(error)
            self._answers.fail(message_id, _VOTE, error)
            return True
        if commit.phase is VOTED and not commit.new_serials:
            if self._loop.posted:  # see Answers.answer
                self._loop.run_posted()
            self._channel.answer(self._codec.voted(message_id))
        else:
            self._answer_unusual(message_id, commit)
        return True

    def _may_wait(self, stores: list[tuple[bytes, bytes, bytes]]) -> bool:
        """Return whether the memory that each transaction has from its beginning is enough."""
        size = sum([len(data) for _, _, data in stores])
        return len(stores) <= FIRST_OPERATIONS and size <= self._client.account.first_space

    def _wait(self, message: Message, commit: Commit) -> None:
        """Have a transaction wait for the commit lock, as it has come."""
        message_id, _, _, (number, user, description, extension, _) = message
        self._calls.open.add(number, commit, len(user) + len(description) + len(extension))
        commit.phase = WAITING
        self._hosted.lock.acquire(commit, commit.lock_granted, self._client)
        self._answers.answer(message_id, _VOTE, commit.answer)

    def _answer_unusual(self, message_id: Any, commit: Commit) -> None:
        """A conflict, an error, or a storage that is still at work."""
        result = list(commit.new_serials) if commit.phase is VOTED else commit.answer
        self._answers.answer(message_id, _VOTE, result)

    def finish(self, message: Message) -> bool:
        """Make a transaction permanent, and answer.

        :returns: False for one that has not come whole; nothing was done then.
        """
        message_id, calls, commits = message[0], self._calls, self._commits
        (number,) = message[3]
        commit = commits.get(number)
        if commit is None or (commit.size and commit.has_log):
            return False
        try:
            tid: Any = commit.phase.finish(commit)
        except (ProtocolError, MemoryError, *ENDS):  # the second: what was left undone is not known
            raise
        # as in dispatch: whatever a storage may raise is the answer
        except BaseException as error:
            if commit.phase.is_over:
                calls.forget(number)
            self._answers.fail(message_id, _FINISH, error)
            return True
        if type(tid) is Later:
            self._answers.answer(message_id, _FINISH, calls.finished_later(number, tid))
            return True
        if commit.size:  # it has waited
            calls.open.forget(number)
        else:
            commits.pop(number, None)
        self._client.commits += 1
        if calls.none_left is not None and not commits:
            calls.none_left()
        if self._loop.posted:  # see Answers.answer
            self._loop.run_posted()
        sizes = self._hosted.sizes.for_client(self._client)
        data = self._codec.committed(message_id, tid, sizes)
        if data is None:
            self._answer_plainly(message_id, tid, sizes)
        else:
            self._channel.answer(data)
        return True

    def _answer_plainly(self, message_id: Any, tid: Any, sizes: dict[str, Any]) -> None:
        """The same where there is no template."""
        try:
            before = frame(self._codec.info(sizes))
        except Exception as error:  # the client does without
            self._loop.reports.failed(
                'a client could not be sent the size', self._hosted.name, error
            )
            before = b''
        try:
            data = before + frame(self._codec.reply(message_id, tid))
        # A storage's own objects may refuse to be encoded in any way they like.
        except Exception as error:
            self._answers.fail(message_id, _FINISH, error)
        else:
            self._channel.answer(data)
