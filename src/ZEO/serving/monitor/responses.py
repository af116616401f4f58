"""Answers in HTTP/1.1, and the form of text that a client prefers.

Enters: a status, a body and its type. Leaves: the bytes to be sent. Fails: never.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import NamedTuple

from ZEO.serving.monitor.requests import Request

REASONS = {
    200: 'OK',
    400: 'Bad Request',
    403: 'Forbidden',
    404: 'Not Found',
    405: 'Method Not Allowed',
    431: 'Request Header Fields Too Large',
    500: 'Internal Server Error',
    503: 'Service Unavailable',
    505: 'HTTP Version Not Supported',
}

TEXT = 'text/plain; charset=utf-8'
JSON = 'application/json'
HTML = 'text/html; charset=utf-8'

#: Headers of every answer: it is kept by no cache, shown in no other page, and taken for what it
#: says it is.
_ALWAYS = (
    'Cache-Control: no-store\r\n'
    'X-Content-Type-Options: nosniff\r\n'
    'Cross-Origin-Resource-Policy: same-origin\r\n'
    'Referrer-Policy: no-referrer\r\n'
)

#: What a page may do that has no policy of its own.
_NOTHING = "default-src 'none'; frame-ancestors 'none'"


class Response(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    kind: str = TEXT
    policy: str = _NOTHING
    more: str = ''  # further header lines


def text(status: int, line: str, more: str = '') -> Response:
    """Return an answer of one line."""
    # names of storages and errors of files may have half of a pair of UTF-16 in them
    return Response(status, f'{line}\n'.encode('utf-8', 'replace'), more=more)


def encoded(response: Response, now: float, with_body: bool, stays: bool) -> bytes:
    """Return an answer as it is sent.

    :param now: seconds since the epoch.
    :param with_body: whether the body is sent, too; not so for HEAD.
    :param stays: whether the connection stays open.
    """
    head = (
        f'HTTP/1.1 {response.status} {REASONS[response.status]}\r\n'
        f'Date: {formatdate(now, usegmt=True)}\r\n'
        f'Content-Type: {response.kind}\r\n'
        f'Content-Length: {len(response.body)}\r\n'
        f'Content-Security-Policy: {response.policy}\r\n'
        f'{_ALWAYS}{response.more}'
        f'Connection: {"keep-alive" if stays else "close"}\r\n\r\n'
    )
    return head.encode('latin-1') + (response.body if with_body else b'')


def preferred(request: Request, kinds: tuple[str, ...]) -> str:
    """Return the media type that a client likes best; of those that it likes as well, the first.

    :param kinds: what there is; the first one where the client does not say.
    """
    wanted = [_wish(part) for part in request.headers.get('accept', '').split(',') if part.strip()]
    return max(kinds, key=lambda kind: _liking(kind, wanted))


def _wish(part: str) -> tuple[str, float]:
    """Return a media type, or a range of them, and how much it is liked."""
    kind, *parameters = (piece.strip().lower() for piece in part.split(';'))
    liking = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition('=')
        if name.strip() == 'q':
            try:
                liking = float(value)
            except ValueError:
                liking = 0.0
    return kind, liking


def _liking(kind: str, wanted: list[tuple[str, float]]) -> float:
    """Return how much a type is liked: what is said of it counts before what is said of a range."""
    for name in kind, kind.partition('/')[0] + '/*', '*/*':
        found = [liking for wish, liking in wanted if wish == name]
        if found:
            return max(found)
    return 0.0
