"""Requests of HTTP/1: bytes -> the few things that are asked of them.

Enters: the bytes of a connection, in any split. Leaves: requests, in order; last of all, if there
is one, a :class:`Refused` for what is not a request that is answered here. Fails: never; nothing is
read after that.

Requests have no body: GET and HEAD only. Header names and values are taken as Latin-1, as HTTP has
them.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

#: Bytes of a request, all its lines together. Browsers send about 1 KB.
MOST_BYTES = 8 * 1024

#: Header lines of a request.
MOST_HEADERS = 100

#: Bytes that are read at a time: more than a request may have, so that one that is a bit too large
#: is read as a whole, and its sender reads the answer.
_BUFFER = 2 * MOST_BYTES

_LINE = re.compile(rb'([!#$%&\'*+.^_`|~0-9A-Za-z-]{1,40}) (\S+) HTTP/(\d)\.(\d)')
# The value is stripped afterwards: a pattern that leaves out the blanks around it can be made to
# try every way to share them out, which takes hours for 8 KB of them.
_HEADER = re.compile(rb'([!#$%&\'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)')
_END = re.compile(rb'\r?\n\r?\n')
_ABSOLUTE = re.compile(r'^https?://[^/?#]*', re.IGNORECASE)


class Refused(Exception):
    """A request that ends its connection.

    :param status: of the answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Request(NamedTuple):
    """One request."""

    method: str
    path: str  # without its query
    query: str
    headers: dict[str, str]  # by their names in lower case; several of a name are joined by commas
    stays: bool  # whether the connection stays open after the answer


class Requests:
    """The requests of one connection, as a channel's session."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_BUFFER))
        self._size = 0  # bytes in it
        self._is_over = False  # nothing more is read

    def buffer(self) -> memoryview:
        """Return the memory to read into."""
        return self._buffer[self._size :]

    def received(self, count: int) -> deque[Request | Refused]:
        """Return the requests that are complete with `count` more bytes in the buffer."""
        found: deque[Request | Refused] = deque()
        if self._is_over:
            return found
        data = self._buffer[: self._size + count].tobytes()
        try:
            while True:
                data = data.lstrip(b'\r\n')  # as HTTP allows before a request
                end = _END.search(data)
                if end is None or end.start() > MOST_BYTES:
                    _check_start(data)
                    break
                found.append(parsed(data[: end.start()]))
                data = data[end.end() :]
        except Refused as refused:
            found.append(refused)
            self._is_over, data = True, b''
        self._size = len(data)
        self._buffer[: self._size] = data
        return found


def _check_start(data: bytes) -> None:
    """Refuse early what will never be a request."""
    if len(data) > MOST_BYTES:
        raise Refused(431, f'a request may have {MOST_BYTES} bytes')
    if data and not (data[:1].isalpha() and data[:1].isascii()):
        raise Refused(400, 'this is not HTTP; this address speaks HTTP without TLS')


def parsed(head: bytes) -> Request:
    """Return the request that some lines are.

    :raises Refused: when they are not one.
    """
    first, *lines = head.replace(b'\r\n', b'\n').split(b'\n')
    line = _LINE.fullmatch(first)
    if line is None:
        raise Refused(400, 'the first line is not one of HTTP')
    if line[3] != b'1':
        raise Refused(505, 'this address speaks HTTP/1.1')
    headers = _headers(lines)
    is_new = line[4] != b'0'
    _check(headers, is_new)
    path, _, query = _ABSOLUTE.sub('', line[2].decode('latin-1')).partition('?')
    stays = is_new and 'close' not in _words(headers.get('connection', ''))
    return Request(line[1].decode('ascii'), path or '/', query, headers, stays)


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MOST_HEADERS:
        raise Refused(431, f'a request may have {MOST_HEADERS} header lines')
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise Refused(400, 'a header line is not one of HTTP')
        name, value = match[1].decode('ascii').lower(), match[2].strip(b' \t').decode('latin-1')
        if name == 'host' and name in headers:
            raise Refused(400, 'there are two Host headers')
        headers[name] = f'{headers[name]}, {value}' if name in headers else value
    return headers


def _check(headers: dict[str, str], is_new: bool) -> None:
    if is_new and 'host' not in headers:
        raise Refused(400, 'HTTP/1.1 needs a Host header')
    if 'transfer-encoding' in headers or headers.get('content-length', '0').strip() != '0':
        raise Refused(400, 'requests have no body here')


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(',')]
