"""The command ``zeo top``: what a server does, second by second.

Enters: the address of a server. Leaves: on a terminal a picture that changes, elsewhere a line for
each storage now and then, until Ctrl-C. Fails: with one line and exit status 2 when the server does
not answer at the start; later it says so, and asks again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ZEO.commands.options import Parser, output, positive_seconds, program
from ZEO.commands.probing import NoAnswer
from ZEO.commands.zeo_clients import NO_ANSWER, Server, add_server, own
from ZEO.commands.zeo_status import described
from ZEO.net.addresses import show
from ZEO.net.system import REAL
from ZEO.serving.moments import lasted, size
from ZEO.wire.quoting import cleaned

#: Figures that only grow, of which rates are shown, and what they are called.
RATES = {'loads': 'loads', 'stores': 'stores', 'commits': 'commits', 'aborts': 'aborts'}

#: Clients that are shown, those that do most.
_MOST_CLIENTS = 15

#: Seconds between two looks.
EVERY = 2.0

_HOME, _CLEAR_LINE, _CLEAR_REST = '\x1b[H', '\x1b[K', '\x1b[J'


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo top'),
        description='Show what a server does: rates, who holds the commit lock, who waits, packs, '
        'and the clients that do most. On a terminal the picture is drawn again and again, in '
        'colours if the package rich is there (extra "top"); elsewhere lines are printed. Ctrl-C '
        'ends it.',
    )
    add_server(made)
    made.add_argument(
        '--every',
        metavar='SECONDS',
        type=positive_seconds,
        default=EVERY,
        help='how often to look; the default is 2',
    )
    made.add_argument(
        '-n',
        '--count',
        metavar='N',
        type=_count,
        help='end after this number of looks',
    )
    return made


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:9]):
        return int(text[:9])
    raise argparse.ArgumentTypeError(f'{text!r} is not a number above zero')


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return made.run(lambda options: _top(made, options), args)


Figures = dict[str, dict[str, Any]]


class Look:
    """What a server has said once.

    :param found: what it says of each storage.
    :param when: seconds of a clock that goes on evenly.
    """

    def __init__(self, found: Figures, when: float) -> None:
        self.found, self.when = found, when

    def rate(self, before: Look | None, storage: str, name: str) -> float:
        """Return how many a second there were since an earlier look."""
        if before is None or self.when <= before.when:
            return 0.0
        new, old = (_number(one.found.get(storage, {}).get(name)) for one in (self, before))
        return max(0.0, new - old) / (self.when - before.when)

    def clients(self, before: Look | None, storage: str) -> list[tuple[float, dict[str, Any]]]:
        """Return the clients, those that do most first, with loads and commits a second."""
        old = {} if before is None else {_key(one): one for one in before.entries(storage)}
        seconds = 0.0 if before is None else self.when - before.when
        found = []
        for entry in self.entries(storage):
            last = old.get(_key(entry))
            done = 0.0 if last is None else _work(entry) - _work(last)
            found.append((done / seconds if seconds > 0 else 0.0, entry))
        return sorted(found, key=lambda one: -one[0])

    def entries(self, storage: str) -> list[dict[str, Any]]:
        """Return the clients of a storage that do not only look."""
        listed = self.found.get(storage, {}).get('clients')
        entries = listed if isinstance(listed, (list, tuple)) else ()
        return [entry for entry in entries if not own(entry)]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _key(entry: dict[str, Any]) -> tuple[Any, Any]:
    return entry.get('id'), entry.get('address')


def _work(entry: dict[str, Any]) -> float:
    return _number(entry.get('loads')) + _number(entry.get('commits'))


# Texts.


def lines(address: str, look: Look, before: Look | None) -> list[str]:
    """Return the lines of the picture."""
    made = [f'{address}{_process(look)}']
    for name in look.found:
        made += ['', *described(_storage, name, look, before)]
    return [cleaned(line, 2000) for line in made]


def _storage(name: str, look: Look, before: Look | None) -> list[str]:
    clients = look.clients(before, name)[:_MOST_CLIENTS]
    return [
        summary(name, look, before),
        *_state(look.found[name]),
        *(_client_line(rate, entry) for rate, entry in clients),
    ]


def _process(look: Look) -> str:
    one = next(iter(look.found.values()), {})
    memory, uptime = one.get('memory'), one.get('uptime')
    parts = [f'ZEO {one["version"]}'] if 'version' in one else []
    parts += [f'up for {lasted(uptime)}'] if isinstance(uptime, (int, float)) else []
    parts += [size(memory)] if isinstance(memory, int) and memory else []
    return f': {", ".join(parts)}' if parts else ''


def summary(name: str, look: Look, before: Look | None) -> str:
    """Return the line about one storage."""
    figures = look.found[name]
    rates = ', '.join(f'{look.rate(before, name, key):.0f} {text}/s' for key, text in RATES.items())
    return (
        f'storage {name}: {len(look.entries(name))} clients, {rates}, '
        f'{_number(figures.get("waiting")):.0f} waiting'
    )


def _state(figures: dict[str, Any]) -> list[str]:
    found = []
    holder = figures.get('lock-holder')
    if isinstance(holder, dict):
        label = f' ({holder["label"]})' if holder.get('label') else ''
        found.append(f'  commit lock: {holder.get("address")}{label} since {holder.get("since")}')
    if figures.get('packing-since') is not None:
        done = figures.get('pack-progress')
        part = f', {100 * done:.0f} % done' if isinstance(done, float) else ''
        found.append(f'  packing since {figures["packing-since"]}{part}')
    if figures.get('error'):
        found.append(f'  error: {figures["error"]}')
    return found


def _client_line(rate: float, entry: dict[str, Any]) -> str:
    label = f' ({entry["label"]})' if entry.get('label') else ''
    who = f', {entry["who"]}' if entry.get('who') else ''
    does = f', {entry["does"]}' if entry.get('does') else ''
    return f'  {rate:8.0f}/s  {entry.get("address")}{label}{who}{does}'


# Showing.


class Screen(Protocol):
    """Where the picture goes."""

    def show(self, lines: list[str]) -> None:
        """Show the next picture."""


class Lines:
    """Standard output that is not a terminal: the lines about storages, with the time."""

    def show(self, lines: list[str]) -> None:
        now = time.strftime('%H:%M:%S')
        for line in lines:
            if line.startswith(('storage ', 'no answer')):
                print(f'{now} {line}', flush=True)


class Terminal:
    """A terminal, without colours."""

    def show(self, lines: list[str]) -> None:
        drawn = f'{_CLEAR_LINE}\n'.join(fitted(lines, *shutil.get_terminal_size()))
        print(f'{_HOME}{drawn}{_CLEAR_LINE}{_CLEAR_REST}', end='', flush=True)


class Rich:
    """A terminal, by the package rich."""

    def __init__(self, live: Any, text: Any) -> None:
        self._live, self._text = live, text

    def show(self, lines: list[str]) -> None:
        columns, rows = self._live.console.size
        text = self._text(no_wrap=True, overflow='ellipsis')
        for line in fitted(lines, columns, rows):
            text.append(f'{line}\n', style=_style(line))
        self._live.update(text, refresh=True)


def fitted(lines: list[str], columns: int, rows: int) -> list[str]:
    """Return lines of which none is wrapped, and that are not more than the terminal has."""
    shown = lines if len(lines) <= rows else lines[: rows - 1]
    found = [line if len(line) <= columns else f'{line[: columns - 1]}…' for line in shown]
    more = len(lines) - len(shown)
    return [*found, f'… {more} more lines: make the window higher'[:columns]] if more else found


def _style(line: str) -> str:
    if line.startswith('storage '):
        return 'bold'
    return 'bold red' if 'error: ' in line or line.startswith('no answer') else ''


@contextmanager
def _screen() -> Iterator[Screen]:
    if not sys.stdout.isatty():
        yield Lines()
        return
    try:
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        print('\x1b[2J', end='')
        yield Terminal()
        return
    with Live(auto_refresh=False, screen=True) as live:
        yield Rich(live, Text)


def _top(made: Parser, options: Any) -> int:
    server = Server(options)
    address, before = show(server.address), None
    try:
        look = Look(server.status(), REAL.now())
    except NoAnswer as error:
        made.warn(f'{address}: {error}')
        return NO_ANSWER
    with output(), _screen() as screen:
        number = 0
        while True:
            screen.show(lines(address, look, before))
            number += 1
            if number == options.count:
                return 0
            time.sleep(options.every)
            before = look
            look = _again(server, before, screen)


def _again(server: Server, before: Look, screen: Screen) -> Look:
    try:
        return Look(server.status(), REAL.now())
    except NoAnswer as error:
        screen.show([f'no answer from {show(server.address)}: {cleaned(str(error), 2000)}'])
        return before


if __name__ == '__main__':
    sys.exit(main())
