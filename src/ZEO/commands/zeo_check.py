"""The command ``zeo check``: what a server would do with a configuration file.

Enters: the name of a configuration file. Leaves: where a server would listen and what it would
serve, its warnings, and the exit status 0. Fails: with one line that has the file and the line of
what is wrong, and exit status 2, or 1 when it may pass without a change of the file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ZEO.commands.options import Parser, complain, output, program, shown
from ZEO.config.factories import StorageFactory
from ZEO.config.loading import load
from ZEO.config.server import Settings, settings
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import Address, show
from ZEO.net.tls import asks_for_certificates

_NAME = 'zeo check'


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program(_NAME),
        description="""Check the configuration file of a server: say where the server would listen
        and what it would serve, without opening storages or listening. The exit status is 0 when
        the file is in order, else 2, or 1 when the same file may be in order later.""",
    )
    made.add_argument('file', metavar='FILE', help='the configuration file, as for runzeo -C')
    made.add_argument('-q', '--quiet', action='store_true', help='print errors and warnings only')
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    return parser().run(_check, args)


def _check(options: Any) -> int:
    try:
        found = settings(load(options.file))
        found.check()
    except ConfigurationError as error:
        complain(program(_NAME), error)
        return error.exit_status
    for warning in found.warnings:
        complain(program(_NAME), f'warning: {warning}')
    with output():
        for line in () if options.quiet else described(found):
            print(shown(line))
    return 0


def described(found: Settings) -> Iterator[str]:
    """Yield lines that say what a server with these settings would do."""
    for address in found.addresses:
        yield f'would listen on {show(address)}{_protection(address, found)}'
    reading = ', for reading only' if found.options.get('read_only') else ''
    for name, factory in found.storages.items():
        yield f'would serve storage {name}: {_storage(factory)}{reading}'
    yield from _rights(found)


def _protection(address: Address, found: Settings) -> str:
    context = found.options.get('ssl')
    if context is not None:
        needs = 'need' if asks_for_certificates(context) else 'need no'
        return f' with TLS; clients {needs} a certificate'
    return ' without TLS' if isinstance(address, tuple) else ''


def _rights(found: Settings) -> Iterator[str]:
    access = found.options.get('access')
    if access is None:
        who = 'that proves a user' if found.options.get('password_file') else 'that can connect'
        yield f'would let every client {who} do everything'
        return
    for section in access.sections:
        where = 'every storage' if section.storage is None else f'storage {section.storage}'
        for rule in section.rules:
            yield f'would allow for {where}: {rule}'


def _storage(factory: StorageFactory) -> str:
    path = getattr(factory.config, 'path', None)
    return f'{factory.kind} {path}' if path else factory.kind


if __name__ == '__main__':
    sys.exit(main())
