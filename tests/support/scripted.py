"""Both ends of the protocol under a test's control, byte for byte; the server's end in both
encodings.

Enters: what a test says, step by step. Leaves: exactly those bytes, in exactly that order; what the
other side sent. Fails: :class:`Unexpected` when the other side says something else, or nothing for
too long.

:class:`ScriptedServer` stands in for a server, :class:`RawClient` for a client. Neither uses ZEO's
own code for the wire.
"""

from __future__ import annotations

import io
import pickle
import queue
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

#: Seconds that anything may take; far more than it should, and less than pytest's timeout.
PATIENCE = 30.0

INFO = {
    'length': 1,
    'size': 1,
    'name': 'scripted',
    'supportsUndo': True,
    'supports_record_iternext': False,
    'interfaces': (),
    'extensions': ('multi_commit',),
}


class Unexpected(AssertionError):
    """The other side said something else."""


class Ended(Unexpected):
    """The other side has closed."""


def tid(number: int) -> bytes:
    """Return the tid of that number; oids look the same."""
    return number.to_bytes(8, 'big')


oid = tid


def message(*parts: Any) -> bytes:
    """Return one message as a frame."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 3)
    pickler.fast = True
    pickler.dump(parts)
    return framed(out.getvalue())


def packed(*parts: Any) -> bytes:
    """Return one message of the encoding M5 as a frame."""
    import msgpack

    return framed(msgpack.packb(parts))


def framed(data: bytes) -> bytes:
    """Return bytes with their length in front."""
    return struct.pack('>I', len(data)) + data


GREETING = framed(b'Z5')


def invalidation(tid: bytes, *oids: bytes) -> bytes:
    """Return the message that tells of a transaction."""
    return message(0, True, 'invalidateTransaction', (tid, list(oids)))


class Request:
    """A call that the other side has made."""

    def __init__(
        self,
        message_id: Any,
        name: str,
        args: tuple[Any, ...],
        encode: Callable[..., bytes] = message,
    ) -> None:
        self.message_id = message_id
        self.name = name
        self.args = args
        self._encode = encode

    def reply(self, result: Any) -> bytes:
        """Return the message that answers it."""
        return self._encode(self.message_id, 0, '.reply', result)

    def fault(self, name: str, args: Any) -> bytes:
        """Return the message that tells of a failure."""
        return self._encode(self.message_id, 2, '.reply', (name, args))


class Conversation:
    """One stream of frames."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        stream.settimeout(PATIENCE)

    def send(self, *frames: bytes) -> None:
        """Send some frames in one go. What another side that has closed is sent is lost, since it
        may as well close behind that; the next that is read says that it has ended.
        """
        try:
            self.stream.sendall(b''.join(frames))
        except (BrokenPipeError, ConnectionResetError):
            pass

    def close(self) -> None:
        """End it."""
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was quicker
            pass
        self.stream.close()

    def frame(self) -> bytes:
        """Return the next frame's content."""
        (size,) = struct.unpack('>I', self._exactly(4))
        return self._exactly(size)

    def next(self) -> tuple[Any, Any, str, Any]:
        """Return the next message."""
        return pickle.loads(self.frame())

    def ended(self) -> list[str]:
        """Return the names of what still came, once the other side has closed."""
        names = []
        try:
            while True:
                names.append(self.next()[2])
        except Ended:
            return names

    def _exactly(self, size: int) -> bytes:
        data = b''
        while len(data) < size:
            try:
                more = self.stream.recv(size - len(data))
            except ConnectionResetError:  # it has closed with something unread
                more = b''
            if not more:
                raise Ended('the other side has closed')
            data += more
        return data


class ServedClient(Conversation):
    """A scripted server's connection with one client.

    :param protocol: the encoding, ``b'Z5'`` or ``b'M5'``.
    """

    def __init__(self, stream: socket.socket, protocol: bytes = b'Z5') -> None:
        super().__init__(stream)
        self.protocol = protocol
        self.encode = message if protocol == b'Z5' else packed

    def send(self, *frames: bytes) -> None:
        """Send some frames in one go.

        :raises OSError: when the client has closed.
        """
        self.stream.sendall(b''.join(frames))

    def next(self) -> tuple[Any, Any, str, Any]:
        """Return the next message."""
        if self.protocol == b'Z5':
            return super().next()
        import msgpack

        return msgpack.unpackb(self.frame(), use_list=False)

    def tell(self, name: str, *args: Any) -> None:
        """Send a one-way message."""
        self.send(self.encode(0, True, name, args))

    def expect(self, *names: str) -> Request:
        """Return the next message, which has to be the last of these names, after the others in
        this order.
        """
        for name in names:
            message_id, _, found, args = self.next()
            while found == 'ping' and message_id == 0:  # a sign of life
                message_id, _, found, args = self.next()
            if found != name:
                raise Unexpected(f'expected {name}, got {found}{args!r:.200}')
        return Request(message_id, found, args, self.encode)

    def register(self, last: bytes, info: dict[str, Any] = INFO) -> None:
        """Answer what a client asks first."""
        self.send(self.expect('register').reply(last))
        self.send(self.expect('get_info').reply(info))


class ScriptedServer:
    """Listens; whoever connects is greeted, unless the test wants to do that, and then waits for
    what the test does with him.
    """

    def __init__(self, path: str, greets: bool = True, protocol: bytes = b'Z5') -> None:
        self.address = path
        self._protocol = protocol
        self._greets = greets
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(10)
        # None: the server is closed
        self._accepted: queue.SimpleQueue[ServedClient | None] = queue.SimpleQueue()
        self._clients: list[ServedClient] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = ServedClient(self._listener.accept()[0], self._protocol)
                if self._greets:
                    client.send(framed(self._protocol))
            except OSError:
                return
            self._clients.append(client)
            self._accepted.put(client)

    def client(self, greeted: bool = True) -> ServedClient:
        """Return the next client, once it has greeted back."""
        try:
            client = self._accepted.get(timeout=PATIENCE)
        except queue.Empty:
            raise Unexpected('nobody has connected') from None
        if client is None:
            self._accepted.put(None)  # for the others that wait
            raise Unexpected('the server was closed')
        if greeted and client.frame() != self._protocol:
            raise Unexpected('the client did not greet')
        return client

    def close(self) -> None:
        """End everything."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._accepted.put(None)
        for client in self._clients:
            client.close()


class Answering:
    """Has a scripted server answer whoever connects, with what a test says, as often as it is
    asked.

    :param answers: the name of a call -> its answer, or a function of the :class:`ServedClient` and
        the :class:`Request` that sends what it likes. Calls that are not named are answered by
        None.
    """

    def __init__(self, server: ScriptedServer, last: bytes, answers: dict[str, Any]) -> None:
        self.answers = {'register': last, 'get_info': INFO, 'lastTransaction': last, **answers}
        self.connections: list[ServedClient] = []
        self.heard: Callable[[str], Any] = lambda name: None  # takes the name of every message
        self._server = server
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client = self._server.client()
            except (Ended, OSError):  # it was not needed
                continue
            except Unexpected:
                return
            self.connections.append(client)
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: ServedClient) -> None:
        try:
            while True:
                message_id, one_way, name, args = client.next()
                self.heard(name)
                if not one_way and name != '.reply':
                    request = Request(message_id, name, args, client.encode)
                    answer = self.answers.get(name)
                    if callable(answer):
                        answer(client, request)
                    else:
                        client.send(request.reply(answer))
        except (Unexpected, OSError):  # it has ended, or the test has
            return


class RawClient(Conversation):
    """A client that does nothing by itself."""

    def __init__(self, path: str, storage: str = '1', receive_buffer: int | None = None) -> None:
        stream = socket.socket(socket.AF_UNIX)
        if receive_buffer is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        stream.settimeout(PATIENCE)
        stream.connect(path)
        super().__init__(stream)
        self._number = 0
        # one-way messages that came while an answer was awaited
        self.told: list[tuple[str, Any]] = []
        self.send(framed(self.frame()))
        self.last = self.call('register', storage, False)

    def encoded(self, *parts: Any) -> bytes:
        """Return one message as a frame."""
        return message(*parts)

    def ask(self, name: str, *args: Any) -> int:
        """Call and do not wait; returns the call's number."""
        self._number += 1
        self.send(self.encoded(self._number, False, name, args))
        return self._number

    def answer(self, number: int) -> Any:
        """Return the answer to a call; raises LookupError with the fault's description."""
        while True:
            message_id, flags, name, args = self.next()
            if name != '.reply':
                self.told.append((name, args))
            elif message_id == number:
                if flags == 2:
                    raise LookupError(*args)
                return args

    def call(self, name: str, *args: Any) -> Any:
        """Call and wait for the answer."""
        return self.answer(self.ask(name, *args))

    def tell(self, name: str, *args: Any) -> None:
        """Send a one-way message."""
        self.send(self.encoded(0, True, name, args))

    def begin(self, txn: int, *stores: tuple[bytes, bytes, bytes]) -> None:
        """Begin a transaction with some stores, each (oid, serial, data)."""
        self.tell('tpc_begin', txn, b'', b'', {}, None, ' ')
        for one, serial, data in stores:
            self.tell('storea', one, serial, data, txn)

    def commit(self, txn: int, *stores: tuple[bytes, bytes, bytes]) -> bytes:
        """Commit a transaction; return its tid."""
        self.begin(txn, *stores)
        self.call('vote', txn)
        return self.call('tpc_finish', txn)


class Running:
    """A function that runs in a thread of its own."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._outcome: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(function, *args), daemon=True).start()

    def _run(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            outcome = True, function(*args)
        except BaseException as error:  # told to whoever asks for the result
            outcome = False, error
        self._outcome.put(outcome)

    def result(self) -> Any:
        """Return what it returned, or raise what it raised."""
        try:
            good, value = self._outcome.get(timeout=PATIENCE)
        except queue.Empty:
            raise Unexpected('it does not return') from None
        if good:
            return value
        raise value
