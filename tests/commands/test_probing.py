"""Asking a server for its status."""

from __future__ import annotations

import itertools
import socket
import threading

import pytest
import trustme

import ZEO
from support.probed import FIGURES, Stand
from ZEO.commands import zeo
from ZEO.commands.probing import NoAnswer, parse, probe
from ZEO.Exceptions import ConfigurationError
from ZEO.net.system import REAL
from ZEO.net.tls import client_context

#: The figures that monitoring programs have always had.
KEYS = set(FIGURES)


@pytest.fixture(scope='module')
def server():
    address, stop = ZEO.server(
        storage_conf='<mappingstorage>\n</mappingstorage>\n<mappingstorage two>\n</mappingstorage>'
    )
    yield address
    stop()


@pytest.mark.smoke
def test_a_real_server_sends_its_figures(server):
    report = probe(server)
    assert set(report) == {'1', 'two'}
    for figures in report.values():
        assert KEYS <= set(figures)


def test_the_probe_is_one_frame():
    with Stand({'1': FIGURES}) as stand:
        assert probe(stand.address) == {'1': FIGURES}
    assert stand.asked == [b'\0\0\0\4ruok']


def test_a_server_of_msgpack():
    with Stand({'1': FIGURES}, greeting=b'M5') as stand:
        assert probe(stand.address) == {'1': FIGURES}


@pytest.mark.parametrize(
    'answers, greeting, words',
    [
        ([None], b'Z5', 'closed|reset'),
        ([b'junk'], b'Z5', 'not a ZEO server'),
        ([b'[]'], b'Z5', 'not a ZEO server'),
        ([b'{"1": 2}'], b'Z5', 'not a ZEO server'),
        ([b'\xff'], b'Z5', 'not a ZEO server'),
        ([{'1': FIGURES}], b'HTTP', 'not a ZEO server'),
    ],
)
def test_other_things_that_listen(answers, greeting, words):
    with Stand(*answers, greeting=greeting) as stand:
        with pytest.raises(NoAnswer, match=words):
            probe(stand.address)


def test_a_silent_server_is_reported_in_time():
    with Stand(b'', greeting=None) as stand:
        with pytest.raises(NoAnswer, match='no answer within 0.2 seconds'):
            probe(stand.address, timeout=0.2)


def test_a_ping_that_waits_tries_no_longer_than_it_may(capsys):
    with Stand(b'', greeting=None) as stand:
        assert zeo.main(['ping', stand.text, '--wait', '0.2', '--timeout', '30']) == 2
    assert 'no response: no answer within 0.2 seconds' in capsys.readouterr().out


def test_a_server_that_trickles_is_reported_in_time(monkeypatch):
    clock = itertools.count()  # a second passes whenever this thread looks, and no other one
    here, now = threading.get_ident(), REAL.now
    monkeypatch.setattr(
        REAL, 'now', lambda: next(clock) if threading.get_ident() == here else now()
    )
    ended = threading.Event()
    listener = socket.create_server(('127.0.0.1', 0))

    def trickle():
        with listener, listener.accept()[0] as stream:
            stream.sendall(b'\1\0\0\0')  # a frame that comes byte by byte, 16 MB of them
            try:
                while not ended.is_set():
                    stream.sendall(b'.')
            except OSError:  # nobody listens any more
                pass

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with pytest.raises(NoAnswer, match='no answer within 5 seconds'):
            probe(listener.getsockname(), timeout=5)
        assert next(clock) < 10
    finally:
        ended.set()
        thread.join()


def test_a_missing_socket_is_reported(tmp_path):
    with pytest.raises(
        NoAnswer, match='No such file or directory: start the server, or check the address'
    ):
        probe(str(tmp_path / 'nobody'))


def test_a_server_with_tls_is_asked(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / 'ca.pem'))
    blob = authority.issue_cert('localhost', '127.0.0.1').private_key_and_cert_chain_pem
    blob.write_to_path(str(tmp_path / 'server.pem'))
    context = client_context(authenticate=str(tmp_path / 'ca.pem'))
    tls = f'<ssl>\ncertificate {tmp_path}/server.pem\nauthenticate {tmp_path}/ca.pem\n</ssl>'
    for port in 0, str(tmp_path / 's'):
        address, stop = ZEO.server(port=port, zeo_conf=tls.replace('authenticate', '#'))
        try:
            assert list(probe(address, ssl=context)) == ['1']
            with pytest.raises(NoAnswer, match="not for the name 'other'"):
                probe(address, ssl=context, server_hostname='other')
            with pytest.raises(NoAnswer, match='no answer within'):  # each waits for the other
                probe(address, timeout=0.2)
        finally:
            stop()
    address, stop = ZEO.server(zeo_conf=tls)
    with pytest.raises(NoAnswer, match='requires a certificate from this client'):
        probe(address, ssl=context)
    stop()


def test_tls_to_a_server_without(server):
    with pytest.raises(NoAnswer, match='does not speak TLS'):
        probe(server, ssl=client_context())


def test_addresses_of_command_lines():
    assert parse('localhost:8100') == ('localhost', 8100)
    assert parse('8100') == ('127.0.0.1', 8100)
    assert parse('[::1]:8100') == ('::1', 8100)
    assert parse('./s') == './s'
    with pytest.raises(ConfigurationError, match='is not an address'):
        parse('nowhere')
