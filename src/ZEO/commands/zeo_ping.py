"""The command ``zeo ping``: does a server accept clients?

Enters: the address of a server, and how long to wait for it. Leaves: a line, and an exit status
like that of ``pg_isready``: 0 it accepts clients, 1 it does not at the moment, 2 it does not
answer, 3 nothing was tried. Fails: never.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from ZEO.commands.options import Parser, output, positive_seconds, program
from ZEO.commands.probing import NoAnswer, Rejected, ask, parse, probe
from ZEO.commands.reaching import FORMS, Reaching, add_reaching, reaching
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import show
from ZEO.net.system import REAL
from ZEO.wire.quoting import cleaned

#: The exit statuses.
ACCEPTS, REJECTS, SILENT, NOT_TRIED = 0, 1, 2, 3

#: Seconds for one try by default, and between two.
TIMEOUT, PAUSE = 3.0, 0.2


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo ping'),
        description='Ask a server whether it accepts clients. The exit status is 0 when it does, 1 '
        'when it answers and does not, for example since its database is away, 2 when it does not '
        'answer, 3 when nothing was tried, since the command line is wrong.',
    )
    add = made.add_argument
    add('address', metavar='ADDRESS', help=FORMS)
    add(
        '-S',
        '--storage',
        metavar='NAME',
        help='ask whether it accepts clients of this storage; without it, of all that it shows',
    )
    add(
        '-w',
        '--wait',
        metavar='SECONDS',
        type=positive_seconds,
        help='try again until it accepts clients, for at most this time',
    )
    add('-q', '--quiet', action='store_true', help='print nothing')
    add_reaching(made, TIMEOUT, 'how long it may take to answer once')
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    try:
        return _ping(made.parse_args(sys.argv[1:] if args is None else list(args)))
    except ConfigurationError as error:
        made.warn(str(error))
        return NOT_TRIED


def _ping(options: Any) -> int:
    address, way = parse(options.address), reaching(options)
    storage = options.storage or ('1' if way.user else None)
    end = REAL.now() + (options.wait or 0.0)
    while True:
        began = REAL.now()
        # a try must not outlive the time to wait by much
        limit = way.timeout if options.wait is None else round(max(PAUSE, end - began), 1)
        status, text = _once(address, storage, way._replace(timeout=min(way.timeout, limit)))
        if status == ACCEPTS or REAL.now() + PAUSE >= end:
            break
        time.sleep(max(0.0, PAUSE - (REAL.now() - began)))
    if not options.quiet:
        with output():
            print(f'{show(address)}: {cleaned(text, 2000)}')
    return status


def _once(address: Any, storage: str | None, way: Reaching) -> tuple[int, str]:
    """Ask once; return the exit status, and what it means."""
    try:
        if storage is None:
            figures = probe(address, way.timeout, **way.tls)
        else:
            figures = {storage: ask(address, storage, way.timeout, **way.of_probe)}
    except Rejected as error:
        return REJECTS, f'does not accept clients: {error}'
    except NoAnswer as error:
        return SILENT, f'no response: {error}'
    wrong = [f'storage {name}: {one["error"]}' for name, one in figures.items() if one.get('error')]
    if wrong:
        return REJECTS, f'does not accept clients: {"; ".join(wrong)}'
    return ACCEPTS, 'accepts clients'


if __name__ == '__main__':
    sys.exit(main())
