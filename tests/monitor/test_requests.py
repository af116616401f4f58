"""Requests of HTTP: what is one, what is refused, and how much may come."""

import contextlib
import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ZEO.serving.monitor.monitor import _json
from ZEO.serving.monitor.requests import MOST_BYTES, MOST_HEADERS, Refused, Requests
from ZEO.serving.monitor.responses import preferred

GOOD = b'GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n'


def read(*pieces):
    """Return what some pieces of a stream are."""
    requests, found = Requests(), []
    for piece in pieces:
        while piece:
            buffer = requests.buffer()
            part, piece = piece[: len(buffer)], piece[len(buffer) :]
            buffer[: len(part)] = part
            found += requests.received(len(part))
    return found


def test_a_request():
    (request,) = read(GOOD)
    assert request.method == 'GET' and request.path == '/metrics' and request.query == 'x=1'
    assert request.headers == {'host': 'localhost', 'accept': 'text/plain'}
    assert request.stays


@given(st.lists(st.integers(1, len(GOOD) * 2 - 1), max_size=5).map(sorted))
def test_requests_come_in_any_pieces(cuts):
    data = GOOD * 2
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert read(*pieces) == read(GOOD) * 2


@pytest.mark.parametrize(
    ('head', 'stays'),
    [
        (b'GET / HTTP/1.1\nHost: x', True),
        (b'\r\n\r\nGET / HTTP/1.1\r\nHost: x', True),
        (b'GET / HTTP/1.1\r\nhost: x\r\nConnection: keep-alive, Close', False),
        (b'GET / HTTP/1.0', False),
        (b'GET http://localhost:81/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0', True),
    ],
)
def test_forms_of_a_request(head, stays):
    (request,) = read(head + b'\r\n\r\n')
    assert (request.path, request.stays) == ('/', stays)


@pytest.mark.parametrize(
    ('data', 'status'),
    [
        (b'\x16\x03\x01\x02\x00\x01', 400),  # TLS
        (b'GET / HTTP/1.1\r\n\r\n', 400),
        (b'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400),
        (b'GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n', 400),
        (b'GET / HTTP/1.1\r\nHost : a\r\n\r\n', 400),
        (b'GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n', 400),
        (b'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', 400),
        (b'GET /\r\n\r\n', 400),
        (b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc', 400),
        (b'GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n', 400),
        (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505),
        (b'GET / HTTP/1.1\r\nHost: a\r\n' + b'A: b\r\n' * MOST_HEADERS + b'\r\n', 431),
        (b'GET /' + b'a' * MOST_BYTES, 431),
        (b'GET / HTTP/1.1\r\nHost: a\r\nX: ' + b'a' * MOST_BYTES + b'\r\n\r\n', 431),
    ],
)
def test_what_is_refused(data, status):
    (refused,) = read(data)
    assert isinstance(refused, Refused) and refused.status == status


def test_nothing_is_read_after_a_refused_request():
    found = read(GOOD + b'nonsense\r\n\r\n' + GOOD, GOOD)
    assert [isinstance(one, Refused) for one in found] == [False, True]


def test_a_header_of_blanks_does_not_keep_the_loop():
    blanks = b' \t' * (MOST_BYTES // 2 - 20)
    with ending_after(30):
        (found,) = read(b'GET / HTTP/1.1\r\nHost:' + blanks + b'\x00\r\n\r\n')
        assert found.status == 400
        (found,) = read(b'GET / HTTP/1.1\r\nHost:' + blanks + b'a b' + b' \r\n\r\n')
        assert found.headers == {'host': 'a b'}


@contextlib.contextmanager
def ending_after(seconds):
    """Have this test fail after a time, also within a regular expression."""

    def too_long(number, frame):
        pytest.fail(f'it took more than {seconds} s')

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_addresses_in_a_query_stay_there():
    (request,) = read(b'GET /a?b=http://c/d HTTP/1.1\r\nHost: x\r\n\r\n')
    assert (request.path, request.query) == ('/a', 'b=http://c/d')


@given(st.binary(max_size=300))
def test_any_bytes_become_requests_or_are_refused(data):
    for found in read(data, b'\r\n\r\n'):
        assert isinstance(found, Refused) or found.path


@pytest.mark.parametrize(
    ('accept', 'kind'),
    [
        ('', 'text/plain'),
        ('*/*', 'text/plain'),
        ('application/openmetrics-text', 'application/openmetrics-text'),
        ('application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3', 'application/open'),
        ('text/plain;q=0.9, application/openmetrics-text;q=0.1', 'text/plain'),
        ('application/openmetrics-text;q=x', 'text/plain'),
        ('application/*', 'application/openmetrics-text'),
        ('text/html, */*;q=0.1', 'text/plain'),
    ],
)
def test_which_form_of_text_is_preferred(accept, kind):
    lines = f'GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n'
    (request,) = read(lines.encode())
    found = preferred(request, ('text/plain', 'application/openmetrics-text'))
    assert found.startswith(kind)


def test_parts_of_an_answer_are_one_dict_and_none_is_made_at_once_with_another():
    parts = [{'a': {'ü"\n': 1}, 'l': []}, {'l': [1, {'b': None}]}, {'l': [2], 'n': None}]
    *pauses, answer = _json(iter(parts))
    assert pauses == [None] * 3
    assert json.loads(answer.body) == {'a': {'ü"\n': 1}, 'l': [1, {'b': None}, 2], 'n': None}
