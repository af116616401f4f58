"""HTTP requests to one process of a site, as its manager sends them.

Enters: paths, and forms or JSON. Leaves: what the process answers. Fails: with urllib's errors, to
which the end of the answer is added.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any


class Browser:
    """The manager at one process, on a port of the loopback."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._url = f'http://127.0.0.1:{port}/'
        self._login = 'Basic ' + base64.b64encode(f'{user}:{password}'.encode()).decode()

    def get(self, path: str) -> str:
        return self.download(path).decode('utf-8', 'replace')

    def download(self, path: str) -> bytes:
        return self._send(urllib.request.Request(self._url + path))

    def post(self, path: str, **fields: str) -> str:
        """Send a form; a field ``name__list`` is sent as ``name:list``."""
        form = {name.replace('__', ':'): value for name, value in fields.items()}
        request = urllib.request.Request(self._url + path, urllib.parse.urlencode(form).encode())
        return self._send(request).decode('utf-8', 'replace')

    def json(self, method: str, path: str, **fields: Any) -> Any:
        """Send and receive JSON, as Plone's REST API wants it; return None for an empty answer."""
        body = json.dumps(fields).encode() if fields else None
        headers = {'Accept': 'application/json', 'Content-Type': 'application/json'}
        answer = self._send(urllib.request.Request(self._url + path, body, headers, method=method))
        return json.loads(answer) if answer else None

    def answers(self) -> bool:
        try:
            self.get('')
        except (OSError, urllib.error.HTTPError):
            return False
        return True

    def _send(self, request: urllib.request.Request) -> bytes:
        request.add_header('Authorization', self._login)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            error.msg += (
                f' for {request.full_url}: {error.read().decode("utf-8", "replace")[-600:]}'
            )
            raise


def until_done(action: Callable[[], object], timeout: float = 60.0, pause: float = 0.2) -> int:
    """Try until it succeeds and return how often it failed; -1 when it never succeeded."""
    end, errors = time.monotonic() + timeout, 0
    while time.monotonic() < end:
        try:
            action()
            return errors
        except (OSError, ValueError):
            errors += 1
            time.sleep(pause)
    return -1
