"""The command ``zeo-cache``: look at client cache files and their traces.

Enters: a command line. Leaves: what is in a file, and exit status 0, or 1 when something is wrong
with the file. Fails: with one line on standard error and exit status 2 for a wrong command line or
a file that cannot be read.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from ZEO.cache import format, inspection, simulate, trace
from ZEO.cache.file_model import FileModel
from ZEO.commands.options import INTERRUPTED, Parser, complain, output, program
from ZEO.Exceptions import ClientStorageError

_NAME = 'zeo-cache'

EVERYTHING_IS_WELL, SOMETHING_IS_WRONG, WRONG_USAGE = range(3)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    file = None
    try:
        options = parser().parse_args(sys.argv[1:] if args is None else list(args))
        file = options.file
        with output():
            return int(options.run(options))
    except OSError as error:
        where = f'{error.filename or file}: ' if error.filename or file else ''
        complain(program(_NAME), f'{where}{error.strerror or error}')
    except (ValueError, ClientStorageError) as error:
        complain(program(_NAME), ' '.join(str(error).split()))
    except KeyboardInterrupt:
        return INTERRUPTED
    return WRONG_USAGE


def parser() -> Parser:
    parser = Parser(program(_NAME), description='Look at ZEO client caches.')
    commands = parser.add_subparsers(title='commands', required=True)
    for run, text in ((check, 'verify a cache file'), (stats, 'show what is in a cache file')):
        command = commands.add_parser(run.__name__, help=text, description=run.__doc__)
        command.add_argument('file', help='cache file (.zec) that no process has open')
        command.set_defaults(run=run)
    command = commands.add_parser(
        'trace', help='print or sum up a trace', description=show_trace.__doc__
    )
    command.add_argument('file', help='trace file (.zec.trace)')
    command.add_argument('--events', action='store_true', help='print every event')
    command.set_defaults(run=show_trace)
    command = commands.add_parser(
        'simulate', help='show the hit rate at other sizes', description=simulated.__doc__
    )
    command.add_argument('file', help='trace file (.zec.trace)')
    command.add_argument(
        '--sizes', type=_size, nargs='+', metavar='SIZE', help='cache sizes: 500KB, 20MB, 2GB ...'
    )
    command.set_defaults(run=simulated)
    return parser


def check(options: argparse.Namespace) -> int:
    """Read a whole cache file and verify every checksum; exit status 1 if anything is wrong."""
    report = inspection.inspect(options.file)
    for problem in report.problems:
        print(f'{options.file}: {problem}')
    if not report.problems:
        print(f'{options.file}: {report.records} records, all is well')
    return SOMETHING_IS_WRONG if report.problems else EVERYTHING_IS_WELL


def stats(options: argparse.Namespace) -> int:
    """Show what is in a cache file, and its hit rate so far."""
    report = inspection.inspect(options.file)
    if not report.usable:
        raise ValueError(f'{options.file}: {report.problems[0]}')
    for name, value in report.lines():
        print(f'{name:<24}{value}')
    return SOMETHING_IS_WRONG if report.problems else EVERYTHING_IS_WELL


def show_trace(options: argparse.Namespace) -> int:
    """Sum up the requests to a cache while ZEO_CACHE_TRACE was set."""
    counts: Counter[int] = Counter()
    first = last = None
    for event in trace.read(options.file):
        counts[event.what] += 1
        first = event.time if first is None else first
        last = event.time
        if options.events:
            print(_event_line(event))
    if first is None or last is None:
        raise ValueError(f'{options.file} has no events')
    print(f'from {_when(first)} to {_when(last)}')
    for what, name in enumerate(trace.NAMES):
        if counts[what]:
            print(f'{name:<16}{counts[what]:>10}')
    hits = counts[trace.LOAD_HIT] + counts[trace.BEFORE_HIT]
    loads = hits + counts[trace.LOAD_MISS] + counts[trace.BEFORE_MISS]
    if loads:
        print(f'{"hit rate":<16}{100 * hits / loads:>9.1f}%')
    return EVERYTHING_IS_WELL


def _event_line(event: trace.Event) -> str:
    tids = ' '.join(tid.hex() for tid in (event.tid, event.end) if tid is not None)
    size = f' {event.size} bytes' if event.size else ''
    return f'{_when(event.time)} {trace.NAMES[event.what]} {event.oid.hex()} {tids}{size}'


def _when(seconds: float) -> str:
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))


def simulated(options: argparse.Namespace) -> int:
    """Replay the trace of a cache file at several sizes of the file, and show the hit rates."""
    accesses = simulate.accesses_of(trace.read(options.file))
    if not accesses:
        raise ValueError(f'{options.file} has no loads to replay')
    print(f'{"size":<12}hit rate')
    for size in options.sizes or _some_sizes(accesses):
        rate = simulate.hit_rate(FileModel(max(size - format.RING_START, 1)), accesses)
        print(f'{_size_text(size):<12}{100 * rate:>7.1f}%')
    return EVERYTHING_IS_WELL


def _some_sizes(accesses: Sequence[simulate.Access]) -> list[int]:
    whole = sum({oid: size for oid, size in accesses if size}.values())
    return [max(int(whole * share), 1) for share in (0.02, 0.05, 0.1, 0.2, 0.5)]


_UNITS = {'GB': 1024**3, 'MB': 1024**2, 'KB': 1024}


def _size(text: str) -> int:
    """Return the bytes that '20MB' or '500000' means."""
    digits, factor = text.upper(), 1
    for unit, bytes_of_unit in _UNITS.items():
        if digits.endswith(unit):
            digits, factor = digits[:-2], bytes_of_unit
    try:
        size = int(float(digits) * factor)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a size: give bytes, or a number with KB, MB or GB'
        )
    return size


def _size_text(size: int) -> str:
    for unit, factor in _UNITS.items():
        if size >= factor:
            return f'{size / factor:.3g}{unit}'
    return str(size)


if __name__ == '__main__':
    sys.exit(main())
