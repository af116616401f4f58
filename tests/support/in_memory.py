"""A client of a server without any socket: what it sends is handled at once.

Enters: frames. Leaves: what the server has sent, in ``channel.sent``. Fails: AssertionError with
the reason when the server closes the connection.
"""

from ZEO.serving.account import Budget
from ZEO.serving.intake import Intake
from ZEO.serving.peer import Peer
from ZEO.serving.service import Service
from ZEO.wire.frames import SIZE, frame
from ZEO.wire.messages import codec
from ZEO.wire.session import ServerSession


class Channel:
    """Takes what is sent, without a socket."""

    tls_subject = None
    is_closed = is_full = False
    bytes_received = bytes_sent = 0
    _pending = True  # what goes to many comes by push_now

    def __init__(self):
        self.sent = []
        self.send = self.answer = self.push = self.push_now = self.sent.append
        self.push_in_turn = lambda pieces: self.sent.append(b''.join(pieces))

    def tls_binding(self):
        return None

    def close(self, reason):
        raise AssertionError(reason)


class Client:
    """One registered client of storage 1 of a server whose loop does not run."""

    def __init__(self, server, protocol=b'Z5', read_only=False):
        hosted = server.hosted
        self.loop = hosted['1'].loop
        self.codec = codec(protocol)
        self.channel = Channel()
        self.session = ServerSession(protocol, 2**16, 2**20)
        self.service = Service(hosted, self.loop, Intake(self.loop, Budget(2**20)), 60)
        self.peer = Peer(self.service, self.session, '', lambda _: self.channel, lambda _: None)
        self.give(frame(protocol) + self.call('register', '1', read_only))

    def messages(self, data):
        """Return the messages of some frames, as a channel gets them."""
        self.session.buffer()[: len(data)] = data
        return self.session.received(len(data))

    def give(self, data):
        """Have some frames handled, and what the loop is to do behind them."""
        self.peer.handle(self.messages(data))
        self.loop.from_thread(lambda: None)
        self.loop.run_once(0.0)

    def sent(self):
        """Return the messages that the client was sent since the last time."""
        data, found = b''.join(self.channel.sent), []
        self.channel.sent.clear()
        while data:
            (size,) = SIZE.unpack_from(data)
            found.append(self.codec.decode(data[4 : 4 + size]))
            data = data[4 + size :]
        return found

    def call(self, name, *args):
        return frame(self.codec.call(7, name, args))

    def send(self, name, *args):
        return frame(self.codec.send(name, args))
