"""The command ``zeo-status``: what a server says about itself.

Enters: the addresses of servers.  Leaves: their figures, for people or as JSON, and the exit
status 0.  Fails: with one line for each server that does not answer, and exit status 2.
"""
from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from persistent.TimeStamp import TimeStamp

from ZEO.commands.options import Parser, add_tls, output, tls_options
from ZEO.commands.probing import TIMEOUT, NoAnswer, parse, probe
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import show
from ZEO.net.system import REAL

#: What people call the figures, in the order in which they are shown.
LABELS = {
    'start': 'serving since',
    'connections': 'connections',
    'loads': 'objects loaded',
    'stores': 'objects stored',
    'commits': 'transactions committed',
    'aborts': 'transactions aborted',
    'active_txns': 'transactions in progress',
    'waiting': 'waiting for the commit lock',
    'lock_time': 'commit lock held for',
    'conflicts': 'conflicts',
    'conflicts_resolved': 'conflicts resolved',
    'last-transaction': 'last transaction',
    'packing': 'packing',
    'pack-start': 'packing since',
}

#: Figures that are of no use to people.
_HIDDEN = ('timeout-thread-is-alive',)


def describe(figures: dict[str, Any], now: float) -> list[str]:
    """Return the lines that show one storage's figures.

    :param now: seconds since the epoch.
    """
    names = [name for name in LABELS if name in figures]
    names += sorted(name for name in figures if name not in LABELS and name not in _HIDDEN)
    return [f'    {LABELS.get(name, name.replace("_", " ")):28}{_value(name, figures[name], now)}'
            for name in names]


def _value(name: str, value: Any, now: float) -> str:
    if name == 'lock_time':
        return 'not held' if value is None else f'{max(0.0, now - value):.1f} s'
    if name == 'last-transaction':
        return _time_of(value)
    if isinstance(value, bool) or value is None:
        return {True: 'yes', False: 'no', None: '-'}[value]
    return str(value)


def _time_of(tid: Any) -> str:
    """Return the time of a transaction id in hexadecimal digits."""
    try:
        raw = bytes.fromhex(tid)
        if not any(raw):
            return 'none yet'
        at = datetime.fromtimestamp(TimeStamp(raw).timeTime(), timezone.utc)
    except (TypeError, ValueError):
        return str(tid)
    return f'{at:%Y-%m-%d %H:%M:%S} UTC ({tid})'


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser('zeo-status', description='''Show what storage servers say about themselves.
        The exit status is 0 when all of them answer, else 2.''')
    made.add_argument('addresses', metavar='ADDRESS', nargs='+',
                      help='HOST:PORT, [IPV6]:PORT, PORT on this machine, or the path of a Unix '
                           'socket, which has at least one slash')
    made.add_argument('--json', action='store_true',
                      help='print one JSON object: address, storage, figures')
    made.add_argument('--timeout', metavar='SECONDS', type=float, default=TIMEOUT,
                      help='how long a server may take to answer; the default is 10')
    add_tls(made)
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    try:
        options = parser().parse_args(sys.argv[1:] if args is None else list(args))
        return _show([parse(text) for text in options.addresses], options)
    except ConfigurationError as error:
        print(f'zeo-status: {error}', file=sys.stderr)
        return 2


def _show(wanted: list[Any], options: Any) -> int:
    tls = tls_options(options)
    found = {}
    failed = False
    for address in wanted:
        try:
            found[show(address)] = probe(address, options.timeout, **tls)
        except NoAnswer as error:
            print(f'zeo-status: {show(address)}: {error}', file=sys.stderr)
            failed = True
    with output():
        if options.json:
            print(json.dumps(found, indent=2, sort_keys=True))
        else:
            _print(found)
    return 2 if failed else 0


def _print(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    for address, storages in found.items():
        print(f'{address}: {"alive" if storages else "alive, without storages"}')
        for name, figures in sorted(storages.items()):
            print(f'  storage {name}')
            print('\n'.join(describe(figures, REAL.wall_clock())))


if __name__ == '__main__':
    sys.exit(main())
