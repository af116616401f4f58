"""The command ``zeo kick``: ends connections of clients.

Enters: the address of a server, and which clients. Leaves: a line for each connection that was
ended, and exit status 0. Fails: with one line: exit status 1 when no client is meant, 2 when the
server does not answer, or refuses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ZEO.commands.options import Parser, output, program
from ZEO.commands.probing import NoAnswer, kick
from ZEO.commands.zeo_clients import NO_ANSWER, Server, add_server
from ZEO.net.addresses import show
from ZEO.wire.quoting import cleaned

#: Exit status when no client is meant.
NOT_THERE = 1


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo kick'),
        description='End the connections of clients. Transactions that they have not committed '
        'are aborted. A client connects again by itself, unless it is stopped or the rules of the '
        'server (<access>) keep it out; it checks its cache then. Where there are rules, this '
        'needs the right "admin".',
        epilog='The exit status is 0 when a connection was ended, 1 when there was none of that '
        'name, 2 when the server does not answer, or refuses.',
    )
    add_server(made)
    made.add_argument(
        'clients',
        metavar='CLIENT',
        nargs='+',
        help='the number, address or label of a client, as zeo clients shows them; of several '
        'clients with one label all are meant',
    )
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return made.run(lambda options: _kick(made, options), args)


def _kick(made: Parser, options: Any) -> int:
    server, status = Server(options), 0
    try:
        storages = server.storages()
        for client in options.clients:
            ended = [
                (name, address)
                for name in storages
                for address in kick(server.address, name, client, **server.reached)
            ]
            with output():
                for name, address in ended:
                    print(cleaned(f'ended: {address}, a client of storage {name}', 2000))
            if not ended:
                status = NOT_THERE
                made.warn(f'there is no client {cleaned(client)}: zeo clients lists them')
    except NoAnswer as error:
        made.warn(f'{show(server.address)}: {error}')
        return NO_ANSWER
    return status


if __name__ == '__main__':
    sys.exit(main())
