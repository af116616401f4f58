"""The command ``zeo certs``, run in a directory of a test.

Enters: the command's switches. Leaves: what it has printed and made, and contexts that use that.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from ZEO.commands import zeo_certs
from ZEO.commands.certificates import facts
from ZEO.net.system import REAL
from ZEO.net.tls import TlsCodec, client_context, server_context
from ZEO.net.tls_errors import TlsError

#: Seconds.
DAY = 86400.0


class Certs:
    """The command, run on one directory."""

    def __init__(self, directory: Path, capsys: Any) -> None:
        self.directory = directory
        self._capsys = capsys

    def run(self, *args):
        """Return the exit status, and what was printed on standard output and error."""
        status = zeo_certs.main([str(self.directory), *args])
        return status, *self._capsys.readouterr()

    def make(self, *args):
        status, printed, errors = self.run(*args)
        assert (status, errors) == (0, '')
        return printed

    def refused(self, *args):
        """Return the one line that says why nothing was done."""
        before = self.files()
        status, printed, errors = self.run(*args)
        assert (status, printed) == (2, '') and errors.count('\n') == 1
        assert self.files() == before
        return errors

    def files(self):
        if not self.directory.exists():
            return None
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def path(self, name):
        return str(self.directory / name)

    def facts(self, name):
        return facts((self.directory / f'{name}.pem').read_bytes())

    def contexts(self, client='app1'):
        """Return the contexts of the server and of a client, as strict as Python has them."""
        ca = self.path('ca.pem')
        server = server_context(
            self.path('localhost.pem'), self.path('localhost.key'), None, ca, self.path('crl.pem')
        )
        one = client_context(self.path(f'{client}.pem'), self.path(f'{client}.key'), None, ca)
        for context in server, one:
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        return server, one


def said(contexts, hostname='localhost'):
    """Return what the ends of a connection say about its handshake; None if it works."""
    server, client = contexts
    ends = TlsCodec(server, True), TlsCodec(client, False, hostname)
    words = [None, None]
    for _ in range(4):
        for index in 0, 1:
            data = ends[1 - index].take()
            try:
                if data and words[index] is None:
                    ends[index].receive(data)
            except TlsError as error:
                words[index] = str(error)
    assert any(words) or all(end.handshaken for end in ends)
    return words[0] or words[1]


def later(monkeypatch, days):
    """Let the command run on a later day."""
    then = REAL.wall_clock() + days * DAY
    monkeypatch.setattr(zeo_certs.REAL, 'wall_clock', lambda: then)
