"""The command ``zeo clients``: the clients of a server, and what they do.

Enters: the address of a server. Leaves: a table, or JSON, and exit status 0. Fails: with one line,
and exit status 2 when the server does not answer, or lists no clients for this one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from ZEO.commands.options import Parser, output, program
from ZEO.commands.probing import NoAnswer, ask, parse, probe
from ZEO.commands.reaching import FORMS, add_reaching, reaching
from ZEO.net.addresses import show
from ZEO.wire.quoting import cleaned

#: Exit status when the server does not answer.
NO_ANSWER = 2

#: Seconds that a server may take.
TIMEOUT = 10.0

#: Characters of a column, so that one client does not make all lines long.
_WIDEST = 40

_COLUMNS = 'ID ADDRESS LABEL USER SINCE LOADS COMMITS DOES'.split()


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo clients'),
        description='List the clients of a server: their number, which zeo kick takes, address and '
        'label, the user where there are rules, since when they are connected, how much they have '
        'loaded and committed, and what they do now.',
        epilog='The exit status is 0, or 2 when the server does not answer.',
    )
    add_server(made)
    made.add_argument('--json', action='store_true', help='print one JSON object, by storage')
    return made


def add_server(made: Parser) -> None:
    """Add the switches that name a server and its storage."""
    made.add_argument('address', metavar='ADDRESS', help=FORMS)
    made.add_argument(
        '-S',
        '--storage',
        metavar='NAME',
        help='the storage; without it all that the server shows, or with --username storage 1',
    )
    add_reaching(made, TIMEOUT, 'how long the server may take to answer')


class Server:
    """A server, as a command line names it."""

    def __init__(self, options: Any) -> None:
        self.address, self._reaching = parse(options.address), reaching(options)
        self._storage = options.storage or ('1' if self._reaching.user else None)

    @property
    def reached(self) -> dict[str, Any]:
        """The keyword arguments of functions that ask it."""
        return {'timeout': self._reaching.timeout, **self._reaching.of_probe}

    def storages(self) -> list[str]:
        """Return the names of the storages that are meant.

        :raises NoAnswer: when it does not answer.
        """
        if self._storage is not None:
            return [self._storage]
        return sorted(probe(self.address, self._reaching.timeout, **self._reaching.tls))

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what it says of each storage.

        :raises NoAnswer: when it does not answer.
        """
        return {name: ask(self.address, name, **self.reached) for name in self.storages()}


def own(entry: Any) -> bool:
    """Return whether an entry is that of a command that only asks."""
    return not isinstance(entry, dict) or entry.get('label') in ('zeo-status', 'zeo kick')


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return made.run(lambda options: _clients(made, options), args)


def _clients(made: Parser, options: Any) -> int:
    server = Server(options)
    try:
        found = {
            name: [entry for entry in _listed(figures) if not own(entry)]
            for name, figures in server.status().items()
        }
    except NoAnswer as error:
        made.warn(f'{show(server.address)}: {error}')
        return NO_ANSWER
    with output():
        if options.json:
            print(json.dumps(found, indent=2, sort_keys=True, default=str))
        else:
            for name, entries in found.items():
                for line in lines(name, entries):
                    print(line)
    return 0


def _listed(figures: dict[str, Any]) -> list[Any]:
    clients = figures.get('clients')
    return list(clients) if isinstance(clients, (list, tuple)) else []


def lines(name: str, entries: list[dict[str, Any]]) -> list[str]:
    """Return the lines about the clients of one storage."""
    if not entries:
        return [f'storage {cleaned(name)}: no clients']
    rows = [_COLUMNS, *map(_row, entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return [
        f'storage {cleaned(name)}: {len(entries)} clients',
        *(
            '  '.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
    ]


def _row(entry: dict[str, Any]) -> list[str]:
    does = str(entry.get('does') or '')
    if entry.get('read-only'):
        does = f'{does}, reads only' if does else 'reads only'
    names = 'id', 'address', 'label', 'who', 'since', 'loads', 'commits'
    shown = [entry.get(name) for name in names]
    return [cleaned('-' if text in (None, '') else str(text), _WIDEST) for text in (*shown, does)]


if __name__ == '__main__':
    sys.exit(main())
