"""Commands that a server answers with whatever it likes: no traceback, nothing that a terminal
obeys, and an end.
"""

from __future__ import annotations

import json
import socket
import struct
import threading

import pytest

from support.probed import FIGURES
from support.scripted import ServedClient, framed
from ZEO import nagios
from ZEO.commands import zeo

#: What a terminal would obey, and what would forge a line.
BAD = '\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\nOK forged\r'

#: Values that no server of ZEO sends.
VALUES = [
    BAD,
    {BAD: BAD},
    [BAD, [BAD], {BAD: [BAD]}],
    {'address': [BAD], 'id': {}, 'label': {BAD: []}, 'since': [], 'who': [BAD], 'loads': BAD},
    [{'address': [BAD], 'id': [], 'label': {BAD: []}, 'since': {}, 'loads': '', 'commits': []}],
    [{'address': BAD, 'id': 1, 'label': BAD, 'since': BAD, 'loads': 1e308, 'commits': 1e308}],
    None,
    True,
    -1,
    10**400,
    float('inf'),
    float('-inf'),
    float('nan'),
    -1e308,
]

#: What an honest server says of its process.
BASE = {**FIGURES, 'pid': 1, 'version': '7', 'uptime': 1, 'memory': 1}

#: What a server tells of a storage.
NAMES = [
    *FIGURES,
    'version',
    'pid',
    'uptime',
    'memory',
    'clients',
    'followers',
    'lock-holder',
    'packing-since',
    'pack-progress',
    'slow',
    'errors',
    'error',
    'denied',
    'role',
    'replica',
    'replication',
    'durations',
    'read-ahead',
    'queues',
    BAD,
]


class Liar:
    """A server that gives one answer to a probe, and one to every call."""

    def __init__(self) -> None:
        self.report: object = {}
        self.answer: object = None
        self.fault: tuple[str, object] | None = None
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self._listener.getsockname()[1]}'
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        client = ServedClient(stream)
        try:
            client.send(framed(b'Z5'))
            if client.frame() == b'ruok':
                client.send(framed(json.dumps(self.report).encode()))
                client.frame()
            while True:
                number, one_way, name, _ = client.next()
                if not one_way:
                    client.send(self._answered(client, number, name))
        except (OSError, AssertionError, struct.error):
            pass
        except Exception:  # the client has ended
            pass
        finally:
            stream.close()

    def _answered(self, client: ServedClient, number: int, name: str) -> bytes:
        if name == 'register':
            return client.encode(number, 0, '.reply', b'\0' * 8)
        if self.fault is not None:
            return client.encode(number, 2, '.reply', self.fault)
        return client.encode(number, 0, '.reply', self.answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def liar():
    made = Liar()
    yield made
    made.close()


def commands(address):
    return [
        ['status', address],
        ['status', '--json', address],
        ['clients', address],
        ['top', address, '-n', '2', '--every', '0.1'],
        ['ping', address, '--timeout', '2'],
        ['kick', address, '1'],
        ['promote', address, '--timeout', '2'],
    ]


def looks_harmless(capsys):
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert 'Traceback' not in text
    assert all(character.isprintable() or character == '\n' for character in text), ascii(text)
    assert not any(line.startswith('OK forged') for line in text.splitlines())


def run_all(liar, capsys, status):
    for command in commands(liar.address):
        try:
            zeo.main(command)
        except SystemExit as error:
            pytest.fail(f'{command} ends with {error}')
        looks_harmless(capsys)
    for _ in range(2):
        nagios.main(['-m', '-s', str(status), liar.address])
        looks_harmless(capsys)


@pytest.mark.parametrize('name', [ascii(name) for name in NAMES])
def test_figures_of_any_kind(liar, capsys, tmp_path, name):
    name = next(one for one in NAMES if ascii(one) == name)
    for value in VALUES:
        figures = {**BASE, name: value}
        liar.report = {'1': figures, BAD: figures}
        liar.answer = figures if value != 10**400 else {**BASE, name: 2**63}
        run_all(liar, capsys, tmp_path / 'status')


def test_faults_of_any_kind(liar, capsys, tmp_path):
    liar.report = {'1': FIGURES}
    for fault in [
        (BAD, (BAD,)),
        ('builtins.ValueError', (BAD, {BAD: BAD})),
        ('ZODB.POSException.StorageError', (BAD,)),
        ('ZEO.Exceptions.AuthError', (BAD,)),
        ('ZODB.POSException.ReadOnlyError', BAD),
    ]:
        liar.fault = fault
        run_all(liar, capsys, tmp_path / 'status')


@pytest.mark.parametrize('answer', [BAD, [BAD], {BAD: BAD}, b'\x1b[2J', 5, None])
def test_answers_of_any_kind(liar, capsys, tmp_path, answer):
    liar.report = {'1': FIGURES}
    liar.answer = answer
    run_all(liar, capsys, tmp_path / 'status')


@pytest.mark.parametrize(
    'text',
    [
        f'<zeo>\naddress {BAD[:-12]}\n</zeo>\n',
        '<zeo>\naddress 0\n</zeo>\n<mappingstorage \x1b[2J>\nkey \x1b[2J\n</mappingstorage>\n',
        '<zeo>\naddress 0\n\x1b[2J \x9b31m\n</zeo>\n',
        '<zeo>\naddress 0\npassword-file /\x1b[2J\u202e\n</zeo>\n<mappingstorage/>',
        '%import os\x1b[2J\n',
    ],
)
def test_a_configuration_of_someone_else(tmp_path, capsys, text):
    (tmp_path / 'zeo.conf').write_text(text, encoding='utf-8')
    assert zeo.main(['check', str(tmp_path / 'zeo.conf')]) != 0
    looks_harmless(capsys)
