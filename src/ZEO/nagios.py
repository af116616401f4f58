"""The monitoring plugin: ``zeo-nagios localhost:8100``.

Enters: a server's address, and a file that keeps figures between two runs. Leaves: one line for
the monitoring program, metrics behind a bar, and the exit status 0 (in order), 1 (a warning) or
2 (no answer). Fails: never otherwise; what is wrong is printed and shown by the status.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from ZEO.commands.options import LONGEST_LINE, Parser, add_tls, output, tls_options
from ZEO.commands.probing import NoAnswer, parse, probe
from ZEO.Exceptions import ConfigurationError
from ZEO.files import remove_if_there
from ZEO.net.addresses import Address
from ZEO.net.system import REAL
from ZEO.wire.quoting import cleaned, quoted

OK, WARNING, ERROR = 0, 1, 2

#: Figures that are printed as they are, and counters, which are printed as rates.
LEVELS = ('active_txns', 'connections', 'waiting')
COUNTERS = ('aborts', 'commits', 'conflicts', 'conflicts_resolved', 'loads', 'stores')

#: Seconds of each unit that a rate may be per.
UNITS = {'seconds': 1, 'minutes': 60, 'hours': 3600, 'days': 86400}

#: The time of the figures in the status file; no figure of a server has this name.
SAMPLED = 'sample-time'

_NO_TRANSACTION = '0' * 16

#: Numbers of which the rate can still be computed.
_LARGEST = 1e300

#: Characters that have a meaning in the lines of a plugin, for names of storages.
_MEANT_OTHERWISE = str.maketrans("|='", '___')


def check(
    address: Address,
    with_metrics: bool = False,
    status_path: str | None = None,
    unit: str | float = 'minutes',
    **tls: Any,
) -> int:
    """Print the state of a server for a monitoring program.

    :param address: ``(host, port)``, or as a command line has it: ``host:port``, or the path of a
        Unix socket.
    :param with_metrics: whether to print figures as well.
    :param status_path: the file that keeps the figures for the next run, which rates need.
    :param unit: the time that rates refer to: a key of UNITS, or a number of seconds.
    :param tls: ``ssl`` and ``server_hostname`` as of :func:`ZEO.commands.probing.probe`.
    :returns: the exit status.
    """
    seconds = UNITS[unit] if isinstance(unit, str) else unit
    try:
        status = probe(_address(address) if isinstance(address, str) else address, **tls)
    except NoAnswer as error:
        print(f"Can't connect {cleaned(str(error), LONGEST_LINE)}")
        return ERROR
    now = REAL.wall_clock()
    before = _read(status_path) if status_path else {}
    problems = [] if status else ['No storages that this client may see']
    metrics = []
    for name, figures in sorted(status.items()):
        if figures.get('last-transaction') == _NO_TRANSACTION:
            problems.append(f'Empty storage {quoted(name.translate(_MEANT_OTHERWISE))}')
        if with_metrics:
            metrics += [
                f'{_label(name)}{metric}={figures[metric]}'
                for metric in LEVELS
                if _is_number(figures.get(metric))
            ]
    if with_metrics:
        for name, figures in sorted(status.items()):
            metrics += _rates(name, figures, before.get(name), now, seconds)
    if status_path:
        problems += _write(status_path, status, now)
    _print(problems or ['OK'], metrics)
    return WARNING if problems else OK


def _rates(
    name: str, figures: dict[str, Any], before: dict[str, Any] | None, now: float, unit: float
) -> list[str]:
    """Return the rates of the counters since `before`; none if the server was restarted since."""
    if before is None or before.get('start') != figures.get('start'):
        return []
    sampled: Any = before.get(SAMPLED)
    elapsed = now - sampled if _is_number(sampled) else 0
    if elapsed <= 0:
        return []
    grown = {
        metric: figures[metric] - before[metric]
        for metric in COUNTERS
        if _is_number(figures.get(metric)) and _is_number(before.get(metric))
    }
    return [
        f'{_label(name)}{metric}={by * unit / elapsed}' for metric, by in grown.items() if by >= 0
    ]


def _is_number(value: Any) -> bool:
    """Return whether a server, or the file of the last run, has a number there that can be used."""
    return isinstance(value, (int, float)) and -_LARGEST < value < _LARGEST


def _label(name: str) -> str:
    """Return what stands before a metric of a storage; the form gives ``|`` and ``=`` a meaning."""
    return '' if name == '1' else cleaned(name.translate(_MEANT_OTHERWISE)) + ':'


def _print(messages: list[str], metrics: list[str]) -> None:
    """Print in the form of the plugins: text|metric, more text, | more metrics."""
    lines = list(messages)
    if metrics:
        lines[0] += f'|{metrics[0]}'
        if len(metrics) > 1:
            lines.append(f'| {metrics[1]}')
            lines += [f' {metric}' for metric in metrics[2:]]
    with output():
        print('\n'.join(lines))


def _read(path: str) -> dict[str, dict[str, Any]]:
    """Return the figures of the last run; none if there are no usable ones."""
    try:
        with open(path, encoding='utf-8') as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: figures for name, figures in found.items() if isinstance(figures, dict)}


def _write(path: str, status: dict[str, dict[str, Any]], now: float) -> list[str]:
    """Write the figures for the next run; return what went wrong."""
    sampled = {name: {**figures, SAMPLED: now} for name, figures in status.items()}
    temporary = ''
    try:
        # a name that no other user can have made a link of before
        fd, temporary = tempfile.mkstemp(prefix=f'{os.path.basename(path)}.', dir=_directory(path))
        with open(fd, 'w', encoding='utf-8') as file:
            json.dump(sampled, file)
        os.replace(temporary, path)
    except OSError as error:
        remove_if_there(temporary)
        return [f'Cannot write {path}: {error.strerror}']
    return []


def _directory(path: str) -> str:
    return os.path.dirname(path) or '.'


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        'zeo-nagios',
        description="""Check a storage server for a monitoring program
        such as Nagios. The exit status is 0 when all is in order, 1 for a warning, as of a
        storage without any transaction, and 2 when the server does not answer.""",
    )
    made.add_argument(
        'address', help='HOST:PORT, [IPV6]:PORT, PORT on this machine, or the path of a Unix socket'
    )
    made.add_argument('-m', '--output-metrics', action='store_true', help='print metrics as well')
    made.add_argument(
        '-s',
        '--status-path',
        metavar='FILE',
        help='keep figures in this file between runs, which rates need',
    )
    made.add_argument(
        '-u',
        '--time-units',
        choices=UNITS,
        default='minutes',
        help='the unit of time for rates; the default is minutes',
    )
    add_tls(made)
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    return parser().run(_check, args)


def _check(options: Any) -> int:
    return check(
        _existing(options.address),
        options.output_metrics,
        options.status_path,
        options.time_units,
        **tls_options(options),
    )


def _existing(text: str) -> Address:
    """Return the address of a command line; a name without a slash is that of an existing socket.

    :raises ConfigurationError: when it is not an address.
    """
    address = _address(text)
    if isinstance(address, str) and '/' not in address and not os.path.exists(address):
        raise ConfigurationError(
            f'{text!r} is not an address: give HOST:PORT, PORT, or the path of a Unix socket'
        )
    return address


def _address(text: str) -> Address:
    """Return the address of a command line; a name without a port is a Unix socket."""
    is_path = not text.isdigit() and ':' not in text
    return text if is_path else parse(text)


if __name__ == '__main__':
    sys.exit(main())
