"""The clients of one storage, and what all of them are sent.

Enters: peers that come and go; messages for one or all. Leaves: those messages, encoded once for
each protocol. Fails: never; a client that cannot be sent what changed is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ZEO.net.channel import Channel
from ZEO.net.loop import Loop
from ZEO.net.sending import Sending, push_to_all
from ZEO.serving.together import Together
from ZEO.wire.big_invalidation import BigInvalidation
from ZEO.wire.frames import frame
from ZEO.wire.messages import codec

#: Why a connection ends that could not be sent what changed.
_NOT_SENT = 'closed by this server: client could not be sent what changed'


class Clients:
    """Peers in the order of their registration, with protocol and channel; all in the loop's
    thread.

    :param name: of the storage, for the log.
    """

    def __init__(self, name: str, loop: Loop) -> None:
        self._name = name
        self._loop = loop
        self._found: dict[Any, tuple[bytes, Channel]] = {}
        # their channels by protocol, made once for many commits; None: to be made
        self._by_protocol: dict[bytes, list[Channel]] | None = None
        #: Collects messages while several commits are shown at once.
        self.together: Together | None = None
        # by clients that are gone: objects that they have loaded, bytes that have come and gone
        self._loads_of_gone = self._received_of_gone = self._sent_of_gone = 0

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._found)

    def __contains__(self, peer: object) -> bool:
        return peer in self._found

    def get(self, peer: Any) -> tuple[bytes, Channel] | None:
        """Return the protocol and the channel of one of them; None where it is not there."""
        return self._found.get(peer)

    @property
    def loads(self) -> int:
        """How many objects all clients have loaded, also those that are gone."""
        return self._loads_of_gone + sum(peer.loads for peer in self._found)

    @property
    def bytes_received(self) -> int:
        """How many bytes have come from all clients, also from those that are gone."""
        return self._received_of_gone + sum(
            channel.bytes_received for _, channel in self._found.values()
        )

    @property
    def bytes_sent(self) -> int:
        """How many bytes all clients were sent, also those that are gone."""
        return self._sent_of_gone + sum(channel.bytes_sent for _, channel in self._found.values())

    def protocols(self) -> set[bytes]:
        """Return the protocols that they speak."""
        return {protocol for protocol, _ in self._found.values()}

    def join(self, peer: Any, protocol: bytes, channel: Channel) -> None:
        """A client is sent all that follows."""
        self._found[peer] = protocol, channel
        self._by_protocol = None

    def left(self, peer: Any) -> None:
        """A client is gone; harmless when it was not there."""
        found = self._found.pop(peer, None)
        self._by_protocol = None
        if found is not None:
            channel = found[1]
            self._loads_of_gone += peer.loads
            self._received_of_gone += channel.bytes_received
            self._sent_of_gone += channel.bytes_sent

    def send(self, but: Any, name: str, *args: Any) -> None:
        """Send a message to every client except `but`.

        A client that cannot be sent it is closed: it does not know what it may keep.
        """
        self._send(but, (), name, args)

    def send_big(self, audience: Iterable[Any], tid: bytes, announced: BigInvalidation) -> None:
        """Send some clients the invalidation of a commit that changed very many objects."""
        if self.together is not None:  # in the order of what was sent before
            self.together.send()
        encoded: dict[bytes, tuple[bytes, ...]] = {}
        for peer in tuple(audience):
            found = self._found.get(peer)
            if found is None:  # it turned out to be gone
                continue
            protocol, channel = found
            try:
                pieces = encoded.get(protocol)
                if pieces is None:
                    args = tid, announced.oids
                    pieces = encoded[protocol] = announced.pieces(protocol, tid) or (
                        # the first client with that protocol has come since
                        frame(peer.codec.send('invalidateTransaction', args)),
                    )
                channel.push_in_turn(pieces)
            except Exception as error:
                self.not_sent(channel, error)

    def send_but_followers(self, but: Any, followers: Iterable[Any], name: str, *args: Any) -> None:
        """The same to those who are not among these, which are not in the audience of what is
        sent together.
        """
        if self.together is not None:
            self.together.add(but, name, *args)
        else:
            self._send(but, followers, name, args)

    def _send(
        self,
        but: Any,
        followers: Iterable[Any],
        name: str,
        args: tuple[Any, ...],
    ) -> None:
        if self.together is not None:  # in the order of what was sent before
            self.together.send()
        try:
            away = {self._found[peer][1] for peer in followers if peer in self._found}
            _, committer = self._found.get(but, (b'', None))
            for protocol, channels in self._channels().items():
                # those that turn out to be gone make other lists than these
                audience = [one for one in channels if one not in away] if away else channels
                self._send_one(protocol, audience, committer, name, args)
        except Exception as error:  # there is no memory for the lists, and no one was sent it
            self._report('clients could not be sent what changed', error)
            self.close_all(_NOT_SENT, but)

    def _send_one(
        self,
        protocol: bytes,
        audience: list[Channel],
        committer: Channel | None,
        name: str,
        args: tuple[Any, ...],
    ) -> None:
        """Send a message to those who speak a protocol."""
        try:
            data = frame(codec(protocol).send(name, args))
        except Exception as error:
            for channel in audience:
                if channel is not committer:
                    self.not_sent(channel, error)
        else:
            push_to_all(audience, committer, data, self.not_sent)

    def _channels(self) -> dict[bytes, list[Channel]]:
        channels = self._by_protocol
        if channels is None:
            channels = {}
            for protocol, channel in self._found.values():
                channels.setdefault(protocol, []).append(channel)
            self._by_protocol = channels  # whole: who is not there would not be sent anything
        return channels

    def not_sent(self, channel: Sending, error: Exception) -> None:
        """Close the connection of a client that could not be sent what changed."""
        self._report('a client could not be sent what changed', error)
        channel.close(_NOT_SENT)

    def send_info(self, peer: Any, info: dict[str, Any]) -> None:
        """Send figures to one client; one that cannot be sent them does without."""
        try:
            peer.push(frame(peer.codec.info(info)))
        except Exception as error:
            self._report('a client could not be sent the size', error)

    def close_all(self, reason: str, but: Any = None) -> None:
        """End all connections except that of `but`, whatever the end of one of them raises."""
        for peer in tuple(self._found):
            if peer is not but:
                try:
                    peer.close(reason)
                except Exception as error:
                    self._report('a connection could not be closed', error)

    def _report(self, what: str, error: BaseException) -> None:
        self._loop.reports.failed(what, self._name, error)
