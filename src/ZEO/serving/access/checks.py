"""Whether the rules of a server mean something there, and whether anything restricts access to it.

Enters: rules, and what a server listens on and asks of its clients. Leaves: a warning in the
log, if there is reason for one. Fails: ConfigurationError for rules that no client can match,
or that never count, and for a server that has to restrict access and does not.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import Address, is_exposed, show
from ZEO.net.tls import SSLContext, asks_for_certificates, verifies_certificates
from ZEO.serving.access.access import Access, Section
from ZEO.serving.access.identity import Identity
from ZEO.serving.access.rules import Right

log = logging.getLogger('ZEO.StorageServer')

#: Where a server has passwords and no rules: who proves a user may do everything, others nothing,
#: as it is with certificates.
BY_PASSWORD = Access.of(['user * admin'])

#: A client that proves nothing.
_STRANGER = Identity()


@dataclass(frozen=True)
class Situation:
    """The server that rules are for.

    :param storages: the names of what it serves.
    :param addresses: what it listens on.
    :param ssl: the context by which it speaks TLS.
    :param has_passwords: whether clients can prove to be a user.
    """

    storages: Collection[str]
    addresses: Iterable[Address] = ()
    ssl: SSLContext | None = None
    has_passwords: bool = False

    @property
    def verifies_certificates(self) -> bool:
        """Whether the certificates of clients are verified, if they have one."""
        return self.ssl is not None and verifies_certificates(self.ssl)

    @property
    def proves(self) -> bool:
        """Whether every client from another machine has a certificate, or may prove to be a
        user.
        """
        return self.has_passwords or (self.ssl is not None and asks_for_certificates(self.ssl))

    @property
    def exposed(self) -> str:
        """The addresses that other machines may reach, as a text."""
        return ', '.join(show(address) for address in self.addresses if is_exposed(address))


def effective(access: Access | None, server: Situation) -> Access | None:
    """Return the rules that count: without any, those of a server with passwords, if it has
    them.
    """
    return BY_PASSWORD if access is None and server.has_passwords else access


def check_rules(access: Access | None, server: Situation) -> None:
    """Make sure that each rule can match, and counts then.

    :raises ConfigurationError: when one does not; with its place, if it has one.
    """
    if access is None:
        return
    ended: set[str | None] = set()  # storages for which no later rule counts
    for section in access.sections:
        problem = _problem(section, server)
        if problem is None and ended & {None, section.storage}:
            problem = 'its rules never count, since a rule for anyone is before them'
        if problem is not None:
            raise ConfigurationError(f'{section.place}: {problem}' if section.place else problem)
        if section.rules and section.rules[-1].kind == 'anyone':
            ended.add(section.storage)


def _problem(section: Section, server: Situation) -> str | None:
    if section.storage not in (None, *server.storages):
        return (
            f'there is no storage {section.storage!r} to have rules for: this server serves '
            f'{", ".join(sorted(server.storages))}'
        )
    for number, rule in enumerate(section.rules):
        if rule.kind == 'anyone' and number < len(section.rules) - 1:
            return f'the rule {section.rules[number + 1]} never counts, since {rule} is before it'
        if rule.kind == 'certificate' and not server.verifies_certificates:
            return (
                f'no client can match the rule {rule}: configure <ssl> with authenticate, so that '
                'clients show certificates'
            )
        if rule.kind == 'user' and not server.has_passwords:
            return (
                f'no client can match the rule {rule}: configure password-file, so that clients '
                'can prove to be a user'
            )
    return None


def check_restricted(access: Access | None, server: Situation) -> None:
    """Make sure that not everyone who can reach the server may use it.

    :raises ConfigurationError: when everyone may.
    """
    if access is None:
        raise ConfigurationError(
            'require-access is on, and nothing restricts access: write an <access> section into '
            '<zeo>, such as  <access>, rule unix-user zope write, </access>'
        )
    if server.exposed and not server.proves:
        name = next((name for name in server.storages if _right_of_stranger(access, [name])), None)
        if name is not None:
            raise ConfigurationError(
                f'require-access is on, and everyone who can reach {server.exposed} over the '
                f'network may use the storage {name!r} by a rule for anyone: remove that rule, '
                'listen on 127.0.0.1 or a Unix socket, configure <ssl> with authenticate, or '
                'password-file'
            )


def warn(access: Access | None, server: Situation) -> None:
    """Log what others on the network can do, if an operator will hardly want that."""
    if server.ssl is not None or not server.exposed:
        return
    right = _right_of_stranger(access, server.storages)
    if right is not Right.NOTHING:
        log.warning(
            '%s: without TLS, everyone who can reach this address over the network may %s all '
            'data; listen on 127.0.0.1 or a Unix socket, let a firewall admit known machines only, '
            'or configure <ssl> with authenticate',
            server.exposed,
            'read' if right is Right.READ else 'read and change',
        )
    elif server.has_passwords:
        log.warning(
            '%s: without TLS, others on the network can read what clients with passwords send and '
            'get, and change it on its way; configure <ssl>',
            server.exposed,
        )


def _right_of_stranger(access: Access | None, storages: Iterable[str]) -> Right:
    """Return the most that a client may do that proves nothing."""
    if access is None:
        return Right.ADMIN
    return max(access.right(_STRANGER, name) for name in storages)
