"""How commands reach servers: the switches for that, and what they mean for who asks.

Enters: a command line. Leaves: keyword arguments for probes, and for clients. Fails:
:class:`ConfigurationError` when a file or a password cannot be used.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from ZEO.commands.options import add_login, add_tls, login_options, positive_seconds, tls_options

#: What the help says about an address.
FORMS = (
    'HOST:PORT, [IPV6]:PORT, PORT on this machine, or the path of a Unix socket, which has at '
    'least one slash'
)


def add_reaching(
    parser: argparse.ArgumentParser,
    timeout: float,
    what: str = 'how long a server may take to answer',
) -> None:
    """Add the switches for the time that servers have, for TLS and for passwords.

    :param timeout: the default, in seconds.
    :param what: what that time is for.
    """
    parser.add_argument(
        '--timeout',
        metavar='SECONDS',
        type=positive_seconds,
        default=timeout,
        help=f'{what}; the default is {timeout:g}',
    )
    add_tls(parser)
    add_login(parser)


class Reaching(NamedTuple):
    """How servers are reached, as a command line says."""

    timeout: float  # seconds
    tls: dict[str, Any]  # ``ssl``, ``server_hostname``
    login: dict[str, Any]  # ``username``, ``password``

    @property
    def user(self) -> tuple[str, str] | None:
        """The user and its password, if there is one."""
        name, password = self.login['username'], self.login['password']
        return None if name is None else (name, password)

    @property
    def of_probe(self) -> dict[str, Any]:
        """The keyword arguments, except for the time, of functions that ask a server."""
        return {'login': self.user, **self.tls}

    @property
    def of_client(self) -> dict[str, Any]:
        """The keyword arguments, except for the time, of a ClientStorage."""
        ssl, name = self.tls['ssl'], self.tls['server_hostname']
        return {'ssl': ssl, 'ssl_server_hostname': name, **self.login}


def reaching(options: Any) -> Reaching:
    """Return what the switches say.

    :raises ConfigurationError: when a file or a password cannot be used.
    """
    return Reaching(options.timeout, tls_options(options), login_options(options))
