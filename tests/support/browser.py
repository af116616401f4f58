"""HTTP requests to one process of a site, as its manager sends them.

Enters: paths, and forms or JSON. Leaves: what the process answers. Fails: OSError, with the end of
the answer when the process has answered with an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

USER, PASSWORD = 'admin', 'secret'
#: Seconds for one answer: making a Plone site takes more than a minute on a busy machine.
TIMEOUT = 300


class Browser:
    """The manager at one process, on a port of the loopback."""

    def __init__(self, port: int) -> None:
        self._url = f'http://127.0.0.1:{port}/'

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        login = USER, PASSWORD
        answer = requests.request(method, self._url + path, auth=login, timeout=TIMEOUT, **options)
        if not answer.ok:
            raise OSError(f'{answer.status_code} for {answer.url}: {answer.text[-600:]}')
        return answer

    def get(self, path: str) -> str:
        return self._send('GET', path).text

    def download(self, path: str) -> bytes:
        return self._send('GET', path).content

    def post(self, path: str, **fields: str) -> str:
        """Send a form; a field ``name__list`` is sent as ``name:list``."""
        form = {name.replace('__', ':'): value for name, value in fields.items()}
        return self._send('POST', path, data=form).text

    def json(self, method: str, path: str, **fields: Any) -> Any:
        """Send and receive JSON, as Plone's REST API wants it; return None for an empty answer."""
        headers = {'Accept': 'application/json', 'Content-Type': 'application/json'}
        answer = self._send(method, path, json=fields or None, headers=headers)
        return answer.json() if answer.content else None

    def answers(self) -> bool:
        """Return whether the process answers."""
        try:
            self.get('')
        except OSError:
            return False
        return True


def failures(action: Callable[[], object], patience: float = 60.0, pause: float = 0.2) -> int:
    """Try until an action succeeds; return how often it has failed before.

    :raises AssertionError: when it has not succeeded in `patience` seconds.
    """
    end, count = time.monotonic() + patience, 0
    while True:
        try:
            action()
            return count
        except (OSError, ValueError) as error:
            assert time.monotonic() < end, f'{count} failures, the last: {error!r}'
            count += 1
            time.sleep(pause)


def comes(ask: Callable[[], object], wanted: object, patience: float = 5.0) -> int:
    """Ask until the answer is, or has in it, what is wanted; return how often it was not.

    Without server-sync an invalidation may be on its way for a moment.

    :raises AssertionError: when it has not come in `patience` seconds.
    """

    def look() -> None:
        answer = ask()
        if not (wanted in answer if isinstance(answer, str) else wanted == answer):
            raise ValueError(str(answer)[:600])

    return failures(look, patience, pause=0.0)
