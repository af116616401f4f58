"""A server with a monitor, in a thread."""

import contextlib
import json
import socket
import threading

import pytest
from ZODB.MappingStorage import MappingStorage

from ZEO.ClientStorage import ClientStorage
from ZEO.StorageServer import StorageServer


class Answer:
    """One answer."""

    def __init__(self, head, body):
        first, *lines = head.decode('latin-1').split('\r\n')
        self.status = int(first.split()[1])
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(':')
            self.headers[name.lower()] = value.strip()
        self.body = body
        self.text = body.decode()


class Connection:
    """A connection to a monitor, which sends what it is told."""

    def __init__(self, address):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.stream = socket.socket(family)
        self.stream.settimeout(30)
        self.stream.connect(address)
        self._received = b''

    def send(self, data):
        self.stream.sendall(data)

    def answer(self, with_body=True):
        """Return the next answer; None at the end of the connection."""
        while b'\r\n\r\n' not in self._received:
            if not self._receive():
                return None
        head, _, self._received = self._received.partition(b'\r\n\r\n')
        answer = Answer(head, b'')
        size = int(answer.headers['content-length']) if with_body else 0
        while len(self._received) < size:
            assert self._receive()
        body, self._received = self._received[:size], self._received[size:]
        return Answer(head, body)

    def _receive(self):
        try:
            data = self.stream.recv(65536)
        except ConnectionResetError:
            data = b''
        self._received += data
        return bool(data)

    def get(self, path, *headers, method='GET'):
        lines = ''.join(f'{line}\r\n' for line in headers)
        host = '' if 'Host:' in lines else 'Host: localhost\r\n'
        self.send(f'{method} {path} HTTP/1.1\r\n{host}{lines}\r\n'.encode('latin-1'))
        return self.answer(method != 'HEAD')


class Monitored:
    """A server, its clients, and connections to its monitor."""

    def __init__(
        self, storages=None, monitor=('127.0.0.1', 0), address=('127.0.0.1', 0), **options
    ):
        self.storages = storages or {'main': MappingStorage('main')}
        self.server = StorageServer(address, self.storages, monitor_address=monitor, **options)
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()
        self._clients = []
        self.connections = []

    def client(self, name='main', **options):
        client = ClientStorage(self.server.addr, name, wait_timeout=30, **options)
        self._clients.append(client)
        return client

    def connect(self, place=0):
        connection = Connection(self.server.monitor_addresses[place])
        self.connections.append(connection)
        return connection

    def get(self, path, *headers, place=0, method='GET'):
        return self.connect(place).get(path, *headers, method=method)

    def json(self, path, place=0):
        answer = self.get(path, place=place)
        assert answer.headers['content-type'] == 'application/json'
        return json.loads(answer.text)

    def call(self, function):
        """Have a function called in the loop's thread; return its result."""
        found, done = [], threading.Event()

        def run():
            with contextlib.suppress(Exception):
                found.append(function())
            done.set()

        self.server.post(run)
        assert done.wait(30) and found
        return found[0]

    def close(self):
        for client in self._clients:
            client.close()
        for connection in self.connections:
            connection.stream.close()
        self.server.stop()
        self._thread.join(30)
        self.server.close()


@pytest.fixture
def monitored():
    """Makes servers, which end with the test."""
    made = []

    def make(*args, **options):
        made.append(Monitored(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
