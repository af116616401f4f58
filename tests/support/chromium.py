"""A headless Chromium, driven through a pipe by its DevTools protocol.

Enters: addresses of pages, and scripts. Leaves: what scripts return, screenshots, and what the
browser has complained about. Fails: AssertionError for an error in a page, or an answer that does
not come in time; FileNotFoundError without a browser.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = 'chromium', 'chromium-browser', 'google-chrome'
#: Seconds for one answer; a busy machine takes many to start it.
PATIENCE = 50.0


def found() -> str | None:
    """Return the path of a browser, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser with one page.

    :param directory: for its profile.
    """

    def __init__(self, directory: Path) -> None:
        path = found()
        if path is None:
            raise FileNotFoundError('chromium')
        inside, self._out = os.pipe()
        self._in, outside = os.pipe()
        # the browser reads from descriptor 3 and writes to 4
        switches = (
            '--headless=new --no-sandbox --disable-gpu --no-first-run --disable-extensions '
            '--disable-background-networking --disable-dev-shm-usage --hide-scrollbars '
            f'--remote-debugging-pipe --user-data-dir={directory}/profile about:blank'
        )
        script = f'exec "{path}" {switches} 3<&{inside} 4>&{outside}'
        self._process = subprocess.Popen(
            ['bash', '-c', script],
            pass_fds=(inside, outside),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(inside)
        os.close(outside)
        self._received = b''
        self._count = 0
        self._session: str | None = None
        #: What was wrong with pages: exceptions, refused scripts and styles, requests that failed.
        self.complaints: list[str] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def _attach(self) -> None:
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target, flatten=True)[
            'sessionId'
        ]
        for name in 'Page', 'Runtime', 'Log', 'Network':
            self.call(f'{name}.enable')

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; return its result."""
        self._count += 1
        message = {'id': self._count, 'method': method, 'params': params}
        if self._session is not None:
            message['sessionId'] = self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._next(end)
            if answer.get('id') == self._count:
                assert 'error' not in answer, answer
                return answer['result']
            self._event(answer)

    def _next(self, end: float) -> dict[str, Any]:
        while b'\0' not in self._received:
            left = end - time.monotonic()
            assert left > 0 and select.select([self._in], [], [], left)[0], 'no answer'
            data = os.read(self._in, 2**20)
            assert data, 'the browser has ended'
            self._received += data
        message, _, self._received = self._received.partition(b'\0')
        return json.loads(message)

    def _event(self, event: dict[str, Any]) -> None:
        params = event.get('params', {})
        if event.get('method') == 'Runtime.exceptionThrown':
            self.complaints.append(json.dumps(params['exceptionDetails'])[:500])
        elif event.get('method') == 'Log.entryAdded' and params['entry']['level'] == 'error':
            self.complaints.append(params['entry']['text'])

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; of a promise, its outcome."""
        result = self.call(
            'Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in result, result['exceptionDetails']
        return result['result'].get('value')

    def open(self, url: str) -> None:
        """Open a page."""
        self.call('Page.navigate', url=url)

    def comes(self, script: str, patience: float = PATIENCE) -> Any:
        """Wait until an expression is true; return its value."""
        end = time.monotonic() + patience
        while not (value := self.run(script)):
            assert time.monotonic() < end, f'{script}; {self.complaints}'
            time.sleep(0.05)
        return value

    def looks(self, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
        """Be a screen of that size, light or dark."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 700,
        )
        scheme = 'dark' if dark else 'light'
        features = [{'name': 'prefers-color-scheme', 'value': scheme}]
        self.call('Emulation.setEmulatedMedia', features=features)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write a picture of what is seen, or of the whole page."""
        picture = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=whole)[
            'data'
        ]
        path.write_bytes(base64.b64decode(picture))
