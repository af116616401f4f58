"""What ``zeo certs`` does: makes, renews, revokes and lists certificates.

Enters: the switches of its command line. Leaves: files in the authority's directory, and lines on
standard output. Fails: :class:`ConfigurationError` of one line, before anything is changed where
that can be known.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ZEO.commands.authority import CA, CRL, Authority, check_name, stem
from ZEO.commands.certificates import SERVER, Facts, client_name, server_names, utc
from ZEO.commands.certs_sections import sections
from ZEO.Exceptions import ConfigurationError

#: The exit status when a certificate has expired, or will soon; and what soon means.
EXPIRES = 1
_SOON = timedelta(days=30)

#: The state of a certificate that servers refuse, if they have the list.
_REVOKED = 'revoked'


class Wanted(NamedTuple):
    """What the switches ask for, checked as far as that needs no authority."""

    servers: dict[str, tuple[str, ...]]  # the names of each, by the names of its files
    clients: list[str]
    renewed: set[str]
    revoked: list[str]
    days: int


def wanted(options: Any) -> Wanted:
    """Return what the switches ask for.

    :raises ConfigurationError: for names that cannot be, or are given twice.
    """
    servers = [server_names(text) for text in options.server]
    clients = [client_name(text) for text in options.client]
    names = [*(stem(one[0]) for one in servers), *clients]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f'{name!r} is given twice: every name is that of a file')
        check_name(name)
    return Wanted(
        {stem(one[0]): one for one in servers},
        clients,
        {stem(name) for name in options.renew},
        [stem(name) for name in options.revoke],
        options.days,
    )


def act(options: Any, now: float) -> int:
    """Do what the switches ask for, and print what came of it; return the exit status.

    :param now: seconds since the epoch.
    :raises ConfigurationError: when that is not possible.
    """
    asked = wanted(options)
    create = bool(asked.servers or asked.clients)
    with Authority.opened(options.directory, utc(now), create) as authority:
        if create or asked.renewed or asked.revoked:
            _print_changes(authority, _change(authority, asked), options.configuration)
            return 0
        if not authority.holds(CA):
            raise ConfigurationError(
                f'there are no certificates in {authority.directory}: give --server NAME'
            )
        if options.configuration:
            print('\n'.join(sections(authority, authority.in_use())))
            return 0
        return _list(authority, utc(now))


def _change(authority: Authority, asked: Wanted) -> list[str]:
    """Do what is asked for; return the names of new certificates."""
    for name in [*asked.servers, *asked.clients]:
        authority.may_make(name, again=name in asked.renewed)
    servers, clients = _with_renewed(authority, asked)
    if servers or clients or CA in asked.renewed:
        authority.begin(again=CA in asked.renewed)
    for name in asked.revoked:
        print(f'# {name}: certificates revoked: {authority.revoke(name)}')
    made = [authority.add_server(names, asked.days) for names in servers.values()]
    return made + [authority.add_client(name, asked.days) for name in clients]


def _with_renewed(
    authority: Authority, asked: Wanted
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the servers and clients that need certificates, with those that are to be renewed."""
    servers, clients = dict(asked.servers), list(asked.clients)
    for name in sorted(asked.renewed - {CA} - set(servers) - set(clients)):
        found = _facts(authority, name)
        if found.kind == SERVER:
            servers[name] = found.names
        else:
            clients.append(name)
    return servers, clients


def _facts(authority: Authority, name: str) -> Facts:
    try:
        return authority.facts(name)
    except ConfigurationError as error:
        if os.path.exists(authority.path(f'{name}.pem')):
            raise
        raise ConfigurationError(
            f'{error}: it has the names that a new one would get; give --server or --client '
            f'{name} as well'
        ) from None


def _print_changes(authority: Authority, names: list[str], everything: bool) -> None:
    print(f'# written in {authority.directory}: {", ".join(authority.made)}')
    if CRL in authority.made and f'{CA}.pem' not in authority.made:
        print(f'# Copy {CRL} to the servers, and send them SIGHUP.')
    present = authority.in_use()
    shown = present if everything else {name: present[name] for name in names}
    for line in sections(authority, shown):
        print(line)


def _list(authority: Authority, now: datetime) -> int:
    status = 0
    for name, found in authority.all().items():
        state = _state(authority, name, found, now)
        status = status if state in ('', _REVOKED) else EXPIRES
        names = ', '.join(found.names) or found.name or name
        line = f'{found.kind:10} {names:40} until {found.until:%Y-%m-%d}  {state}'
        print(line.rstrip())
    return status


def _state(authority: Authority, name: str, found: Facts, now: datetime) -> str:
    if authority.is_revoked(found):
        if found.serial in authority.listed():
            return _REVOKED
        return f'{_REVOKED}, but not in {CRL}: --revoke {name} writes it'
    if found.until <= now:
        return 'expired'
    return 'expires soon' if found.until - now < _SOON else ''
