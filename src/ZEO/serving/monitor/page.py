"""The live page: one file, which asks for nothing but data of the same server.

Enters: the file beside this module. Leaves: the answer with it, whose policy allows just its own
script and style. Fails: OSError at import, when the file was not installed.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from ZEO.serving.monitor.responses import HTML, Response


def _policy(text: str) -> str:
    """Return a Content-Security-Policy for a page with one script and one style."""
    hashes = {}
    for tag in 'script', 'style':
        (part,) = re.findall(f'<{tag}>(.*?)</{tag}>', text, re.S)
        digest = b64encode(sha256(part.encode()).digest()).decode()
        hashes[tag] = f"{tag}-src 'sha256-{digest}'"
    return '; '.join(
        [
            "default-src 'none'",
            *hashes.values(),
            "connect-src 'self'",
            'img-src data:',
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _made() -> Response:
    text = Path(__file__).with_name('page.html').read_text(encoding='utf-8')
    return Response(200, text.encode(), HTML, _policy(text), 'X-Frame-Options: DENY\r\n')


#: The answer.
PAGE = _made()
