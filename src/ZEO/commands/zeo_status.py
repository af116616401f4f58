"""The command ``zeo-status``: shows the status of servers.

Enters: the addresses of servers. Leaves: their figures, for people or as JSON, and the exit
status 0. Fails: with one line for each server that does not answer, and exit status 2.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from persistent.TimeStamp import TimeStamp

from ZEO.commands.options import LONGEST_LINE, Parser, output, program
from ZEO.commands.probing import LABEL, TIMEOUT, NoAnswer, ask, parse, probe
from ZEO.commands.reaching import FORMS, Reaching, add_reaching, reaching
from ZEO.net.addresses import show
from ZEO.net.system import REAL
from ZEO.serving.moments import iso, lasted, size
from ZEO.wire.quoting import cleaned

#: The exit status when a server has not answered.
NO_ANSWER = 2

#: The labels of the figures, in the order in which they are shown.
LABELS = {
    'serving-since': 'serving since',
    'connections': 'connections',
    'loads': 'objects loaded',
    'stores': 'objects stored',
    'commits': 'transactions committed',
    'aborts': 'transactions aborted',
    'active_txns': 'transactions in progress',
    'waiting': 'waiting for the commit lock',
    'lock_time': 'commit lock held for',
    'lock-holder': 'commit lock held by',
    'conflicts': 'conflicts',
    'conflicts_resolved': 'conflicts resolved',
    'last-transaction': 'last transaction',
    'denied': 'denied by the rules',
    'packing': 'packing',
    'packing-since': 'packing since',
    'pack-progress': 'pack done',
}

#: Figures of the process, which are shown once for all its storages.
_PROCESS = ('version', 'pid', 'uptime', 'memory')

#: Figures that are of no use to readers, or are shown in another form.
_HIDDEN = ('timeout-thread-is-alive', 'clients', 'followers', 'slow', 'errors', *_PROCESS)

#: Older names of figures, which are kept for monitoring programs, and the better ones.
_SAME = {'start': 'serving-since', 'pack-start': 'packing-since'}

#: Figures that consist of several, which are shown in one line.
_PARTS = ('replica', 'replicas', 'fence', 'read-ahead')

#: How many clients are listed in the text form.
_MOST_CLIENTS = 20


def describe(figures: dict[str, Any], now: float) -> list[str]:
    """Return the lines that show one storage's figures.

    :param now: seconds since the epoch.
    """
    figures = _better_named(figures)
    names = [name for name in LABELS if name in figures]
    names += sorted(name for name in figures if name not in LABELS and name not in _HIDDEN)
    lines = [f'    {_label(name):28}{_value(name, figures[name], now)}' for name in names]
    followers, clients = figures.get('followers'), figures.get('clients')
    if isinstance(followers, (list, tuple)):
        lines += _followers(followers)
    return [*lines, *_clients(clients, figures)] if isinstance(clients, (list, tuple)) else lines


def _better_named(figures: dict[str, Any]) -> dict[str, Any]:
    found = {_SAME.get(name, name): value for name, value in figures.items()}
    found.update({name: figures[name] for name in _SAME.values() if name in figures})
    return found


def _label(name: str) -> str:
    return LABELS.get(name, name.replace('_', ' ').replace('-', ' '))


def _value(name: str, value: Any, now: float) -> str:
    if name == 'lock_time':
        return 'not held' if value is None else lasted(now - value)
    if name == 'lock-holder':
        return _client(value) if isinstance(value, dict) else 'none'
    if name == 'last-transaction':
        return _time_of(value)
    if name in _PARTS and isinstance(value, dict):
        return ', '.join(f'{part}: {_value(part, one, now)}' for part, one in value.items())
    if name == 'denied' and isinstance(value, dict):
        return ', '.join(f'{kind}: {number}' for kind, number in value.items()) or 'nothing'
    if name == 'pack-progress' and isinstance(value, float):
        return f'{100 * value:.0f} %'
    if isinstance(value, bool) or value is None:
        return {True: 'yes', False: 'no', None: '-'}[value]
    return str(value)


def _time_of(tid: Any) -> str:
    """Return the time of a transaction id in hexadecimal digits."""
    try:
        raw = bytes.fromhex(tid)
        if not any(raw):
            return 'none yet'
        return f'{iso(TimeStamp(raw).timeTime())} ({tid})'
    except (TypeError, ValueError):
        return str(tid)


def _followers(followers: Sequence[Any]) -> list[str]:
    lines = [
        f'      {_client(one)}, since {one.get("since")}, {_behind(one)}'
        + ('' if one.get('counts') else ', does not count: it may only read')
        for one in followers[:_MOST_CLIENTS]
        if isinstance(one, dict)
    ]
    return ['    followers', *lines] if lines else []


def _behind(follower: dict[str, Any]) -> str:
    if follower.get('replicated') is None:
        return 'has not copied anything yet'
    transactions, seconds = follower.get('lag-transactions'), follower.get('lag-seconds')
    if transactions == 0:
        return 'has everything'
    many = 'many' if transactions is None else transactions
    return f'{many} transactions and {seconds} s behind'


def _clients(clients: Sequence[Any], figures: dict[str, Any]) -> list[str]:
    known = [client for client in clients if isinstance(client, dict)]
    lines = [
        f'      {_client(client)}, since {client.get("since")}, {client.get("loads")} loads, '
        f'{client.get("commits")} commits{", reading only" if client.get("read-only") else ""}'
        + (f', as {client["who"]}' if client.get('who') else '')
        for client in known[:_MOST_CLIENTS]
    ]
    more = max(len(known), figures.get('connections', 0)) - len(lines)
    if more > 0:
        lines.append(
            f'      and {more} '
            f'more{": --json lists them" if more <= len(known) - len(lines) else ""}'
        )
    return ['    clients', *lines] if lines else []


def _client(client: dict[str, Any]) -> str:
    address, label = client.get('address'), client.get('label')
    return f'{address} ({label})' if label else f'{address}'


def process(storages: dict[str, dict[str, Any]]) -> str:
    """Return the figures of a server's process, as the end of a line."""
    known = next((one for one in storages.values() if 'pid' in one), None)
    if known is None:
        return ''
    uptime, memory = known.get('uptime'), known.get('memory')
    return (
        f', ZEO {known.get("version")}, process {known["pid"]}'
        + (f', up for {lasted(uptime)}' if isinstance(uptime, (int, float)) else '')
        + (f', {size(memory)} of memory' if isinstance(memory, int) and memory else '')
    )


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo-status'),
        description="""Show the status of storage servers.
        The exit status is 0 when all of them answer, else 2.""",
    )
    made.add_argument('addresses', metavar='ADDRESS', nargs='+', help=FORMS)
    made.add_argument(
        '--json', action='store_true', help='print one JSON object: address, storage, figures'
    )
    made.add_argument(
        '--storage',
        metavar='NAME',
        action='append',
        help='show this storage; may be repeated. Without it that is every storage that the server '
        'shows to anyone, or with --username storage 1',
    )
    add_reaching(made, TIMEOUT)
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return made.run(lambda options: _show(made, options), args)


def _show(made: Parser, options: Any) -> int:
    addresses, way = [parse(text) for text in options.addresses], reaching(options)
    named = options.storage or (['1'] if way.user else [])
    found, failed = {}, False
    for address in addresses:
        try:
            shown = found[show(address)] = _everything(made, address, named, way)
            failed = failed or not shown.keys() >= set(named)
        except NoAnswer as error:
            made.warn(f'{show(address)}: {error}')
            failed = True
    with output():
        if options.json:
            print(json.dumps(found, indent=2, sort_keys=True, default=str))
        else:
            _print(found)
    return NO_ANSWER if failed else 0


def _everything(
    made: Parser, address: Any, named: list[str], way: Reaching
) -> dict[str, dict[str, Any]]:
    """Return the figures of each storage: those for anyone, and those for registered clients.

    :param named: the storages that are to be shown; every one that the server shows if empty.
    """
    deadline = REAL.now() + way.timeout
    storages = probe(address, way.timeout, **way.tls)
    for name in named or list(storages):
        try:
            left = deadline - REAL.now()
            known = ask(address, name, left, **way.of_probe) if left > 0 else {}
        except NoAnswer as error:
            made.warn(f'{show(address)}: no details of storage {cleaned(name)}: {error}')
            continue
        _add(storages.setdefault(name, {}), known)
    return {name: storages[name] for name in named or storages if name in storages}


def _add(figures: dict[str, Any], known: dict[str, Any]) -> None:
    """Add what is known beyond the figures, without the client that has asked."""
    figures.update({key: value for key, value in known.items() if key not in figures})
    if isinstance(figures.get('clients'), (list, tuple)):
        figures['clients'] = [
            one
            for one in figures['clients']
            if not (isinstance(one, dict) and one.get('label') == LABEL)
        ]


def _print(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    for address, storages in found.items():
        state = 'alive' if storages else 'alive, no storages for this client'
        _print_line(f'{address}: {state}{process(storages)}')
        for name, figures in sorted(storages.items()):
            _print_line(f'  storage {name}')
            for line in described(describe, figures, REAL.wall_clock()):
                _print_line(line)


def described(how: Callable[..., list[str]], *args: Any) -> list[str]:
    """Return figures as text; those of a server that has sent nonsense are not shown."""
    try:
        return how(*args)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
        return ['    this server has sent figures that are not those of a ZEO server']


def _print_line(line: str) -> None:
    """Print what a server has sent, which may hold what a terminal would obey."""
    print(cleaned(line, LONGEST_LINE))


if __name__ == '__main__':
    sys.exit(main())
