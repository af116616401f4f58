"""The ``<ssl>`` section.

Enters: its keys. Leaves: the context for a server or a client. Fails: with
:class:`ConfigurationError` that says what is wrong with a file, or with the section.
"""

from __future__ import annotations

from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.net.tls import DYNAMIC, SSLContext, client_context, server_context


class TlsSection:
    """What one ``<ssl>`` section says; its owner asks for the context of a server or a client."""

    def __init__(self, section: Any) -> None:
        self.place = getattr(section.getSectionMatcher(), 'place', None)
        self.server_hostname: str | None = section.server_hostname
        self._check_hostname: bool | None = section.check_hostname
        self._certificate: str | None = section.certificate
        self._key: str | None = section.key
        self._password_function: str | None = section.password_function
        self._authenticate: str | None = section.authenticate
        self._crl: str | None = section.crl

    @property
    def lets_anyone_in(self) -> bool:
        """Whether a server would accept clients that have no certificate."""
        return not self._authenticate

    @property
    def is_dynamic(self) -> bool:
        """Whether a program adds the certificates that are trusted."""
        return self._authenticate == DYNAMIC

    def server_context(self) -> SSLContext:
        """Return the context for a server.

        :raises ConfigurationError: when the section is one for a client, or a file is wrong.
        """
        for name, value in [
            ('check-hostname', self._check_hostname),
            ('server-hostname', self.server_hostname),
        ]:
            if value is not None:
                raise ConfigurationError(
                    f'{name} belongs to the <ssl> section of a client, not of a server: remove it'
                )
        if not self._certificate:
            raise ConfigurationError('a server needs a certificate in its <ssl> section')
        return server_context(
            self._certificate, self._key, self._password_function, self._authenticate, self._crl
        )

    def client_context(self) -> SSLContext:
        """Return the context for a client.

        :raises ConfigurationError: when a file is wrong.
        """
        return client_context(
            self._certificate,
            self._key,
            self._password_function,
            self._authenticate,
            self._check_hostname is not False,
            self._crl,
        )
