"""What to write into configuration files, so that they use the certificates of an authority.

Enters: an authority, and what its certificates say. Leaves: the lines of sections. Fails: as
reading the authority's files does.
"""

from __future__ import annotations

from collections.abc import Iterator

from ZEO.commands.authority import Authority
from ZEO.commands.certificates import CLIENT, SERVER, Facts

#: The port in the sections, which is that of our other examples.
_PORT = 8100


def sections(authority: Authority, wanted: dict[str, Facts]) -> Iterator[str]:
    """Yield the lines for these servers and clients, and the rights of all clients."""
    servers = [name for name, found in wanted.items() if found.kind == SERVER]
    clients = [name for name, found in wanted.items() if found.kind == CLIENT]
    for name in servers:
        yield from _server(authority, name, wanted[name].names[0])
    if clients and not servers:
        yield ''
        yield '# For the servers, in <zeo>:'
        yield from _access(authority)
    for name in clients:
        yield from _client(authority, name)


def _server(authority: Authority, name: str, host: str) -> Iterator[str]:
    yield ''
    yield f'# For the server {host}, which needs {name}.pem, {name}.key, ca.pem and crl.pem:'
    yield '<zeo>'
    yield f'  address {_address(host)}'
    yield '  require-access true'
    yield from _ssl(authority, name)
    yield f'    crl {_path(authority, "crl.pem")}'
    yield '  </ssl>'
    yield from _access(authority)
    yield '</zeo>'


def _access(authority: Authority) -> Iterator[str]:
    yield '  <access>'
    clients = [found.name for found in authority.in_use().values() if found.kind == CLIENT]
    for name in clients:
        yield f'    rule certificate CN={name} write'
    if not clients:
        yield '    rule anyone nothing'
    yield '  </access>'


def _client(authority: Authority, name: str) -> Iterator[str]:
    servers = [found.names[0] for found in authority.all().values() if found.kind == SERVER]
    yield ''
    yield f'# For the client {name}, which needs {name}.pem, {name}.key and ca.pem:'
    yield '<clientstorage>'
    for host in servers[:1] or ['SERVER']:
        yield f'  server {_address(host)}'
    yield from _ssl(authority, name)
    yield '  </ssl>'
    yield '</clientstorage>'


def _ssl(authority: Authority, name: str) -> Iterator[str]:
    yield '  <ssl>'
    yield f'    certificate {_path(authority, f"{name}.pem")}'
    yield f'    key {_path(authority, f"{name}.key")}'
    yield f'    authenticate {_path(authority, "ca.pem")}'


def _path(authority: Authority, name: str) -> str:
    return authority.path(name).replace('$', '$$')  # which ZConfig would take for a variable


def _address(host: str) -> str:
    if host.startswith('*'):  # a name for many hosts, of which one has to be chosen
        return f'HOST:{_PORT}'
    return f'[{host}]:{_PORT}' if ':' in host else f'{host}:{_PORT}'
