#!/usr/bin/env python
"""Hit rates of eviction policies and real caches, on made-up accesses or the trace of a cache.

Enters: a workload's name or a trace file; or --all and which caches to compare. Leaves: a table,
and a plot of it as text; or for each workload and recording the differences to the best of clock,
LRU and S3-FIFO, and the worst of them. Fails: with one line and exit status 2 for a wrong command
line or a file that is not a trace; with 1 when a cache is more than a point below the best.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from cache_lab import recorded
from cache_lab.policies import POLICIES, USUAL
from cache_lab.real import MORE_IN_MEMORY
from cache_lab.workloads import WORKLOADS

from ZEO.cache import trace
from ZEO.cache.simulate import Access, accesses_of, hit_rate

#: Accesses to records of 1 KB, in whole units of a cache file.
OBJECTS, LOADS, RECORD = 20_000, 200_000, 1024
#: Sizes of the caches, as shares of the whole.
SHARES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.75)


def table(
    accesses: Sequence[Access], sizes: Sequence[int], names: Sequence[str]
) -> dict[str, list[float]]:
    """Return the hit rate of each policy at each size, in bytes.

    :raises ValueError: when there are no accesses.
    """
    if not accesses:
        raise ValueError('there are no loads to replay')
    return {name: [hit_rate(POLICIES[name](size), accesses) for size in sizes] for name in names}


def text_plot(rates: dict[str, list[float]], labels: Sequence[str], height: int = 12) -> str:
    """Return a plot of hit rate against cache size: a letter per policy, one column per size."""
    letters = {name: name[0].upper() for name in rates}
    width = max(map(len, labels)) + 3
    lines = []
    for row in range(height, -1, -1):
        cells = []
        for column in range(len(labels)):
            here = [
                letters[name]
                for name, values in rates.items()
                if round(values[column] * height) == row
            ]
            cells.append(''.join(here).center(width))
        lines.append(f'{100 * row / height:4.0f} % |' + ''.join(cells).rstrip())
    lines.append('       +' + '-' * (width * len(labels)))
    lines.append('        ' + ''.join(label.center(width) for label in labels).rstrip())
    lines.append('   ' + ', '.join(f'{letter} = {name}' for name, letter in letters.items()))
    return '\n'.join(lines)


def differences(
    accesses: Sequence[Access], sizes: Sequence[int], names: Sequence[str]
) -> dict[str, list[float]]:
    """Return how much the hit rate of each is above the best of USUAL at each size, in points.

    :raises ValueError: when there are no accesses.
    """
    usual = table(accesses, sizes, USUAL)
    best = [max(rates) for rates in zip(*usual.values(), strict=True)]
    return {
        name: [100 * (rate - most) for rate, most in zip(rates, best, strict=True)]
        for name, rates in table(accesses, sizes, names).items()
    }


def compare_all(options: argparse.Namespace) -> int:
    """Print the differences on every workload and recording; return the exit status."""
    print_line('points', [f'{share:.0%}' for share in SHARES])
    names = [*sorted(WORKLOADS), *recorded.names()]
    cells = [(name, share, options) for name in names for share in SHARES]
    worst = 0.0
    with multiprocessing.Pool(options.jobs) as pool:
        found = pool.imap(_cell, cells)  # in order, as they are done
        for name in names:
            rows = list(zip(*islice(found, len(SHARES)), strict=True))
            for policy, points in zip(options.policies, rows, strict=True):
                print_line(f'{name} {policy}', [f'{point:+.1f}' for point in points])
                worst = min(worst, *points)
    print(f'\nworst: {worst:+.2f}')
    return int(worst < -1)


def _cell(what: tuple[str, float, argparse.Namespace]) -> list[float]:
    """Return the differences of all policies on one workload or recording at one size."""
    name, share, options = what
    points = dict[str, float]()
    for more in 0, MORE_IN_MEMORY:
        policies = [one for one in options.policies if (one == 'memory') == (more > 0)]
        if policies:
            found, whole = _accesses_and_whole(name, options.loads, options.objects, more)
            for policy, rates in differences(found, [max(int(whole * share), 1)], policies).items():
                points[policy] = rates[0]
    return [points[policy] for policy in options.policies]


@lru_cache(2)
def _accesses_and_whole(name: str, loads: int, objects: int, more: int) -> tuple[list[Access], int]:
    command = f'--loads {loads} --objects {objects} --'
    command += f'recorded {name}' if name in recorded.names() else f'workload {name}'
    options = parser().parse_args(command.split())
    found = accesses(options)
    whole = whole_of(found, options) + more * _objects_of(found, options)
    return [(oid, size + more if size else 0) for oid, size in found], whole


def print_line(name: str, cells: Sequence[str]) -> None:
    """Print a line of a table."""
    print(name.ljust(18) + ''.join(cell.rjust(7) for cell in cells), flush=True)


def sizes_of(found: Sequence[Access], options: argparse.Namespace) -> list[int]:
    """Return sizes of caches in bytes: SHARES of the whole."""
    whole = whole_of(found, options)
    return [max(int(whole * share), 1) for share in SHARES]


def whole_of(found: Sequence[Access], options: argparse.Namespace) -> int:
    """Return the bytes of what is accessed, or of all made-up objects."""
    if options.trace or options.recorded:
        return sum({oid: size for oid, size in found if size}.values())
    return int(options.objects * RECORD)


def _objects_of(found: Sequence[Access], options: argparse.Namespace) -> int:
    """Return how many objects are accessed, or all made-up ones."""
    if options.trace or options.recorded:
        return len({oid for oid, size in found if size})
    return int(options.objects)


def accesses(options: argparse.Namespace) -> list[Access]:
    """Return the accesses that a command line names."""
    if options.trace:
        return accesses_of(trace.read(options.trace))
    if options.recorded:
        return recorded.read(str(recorded.DIRECTORY / f'{options.recorded}.xz'))
    make = WORKLOADS[options.workload]
    return [(oid, RECORD) for oid in make(options.loads, options.objects, random.Random(1))]


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    made.add_argument('--trace', metavar='FILE', help='the trace of a cache, instead of a workload')
    made.add_argument('--recorded', choices=recorded.names(), help='what an application has done')
    made.add_argument('--workload', choices=sorted(WORKLOADS), default='zipf')
    made.add_argument('--loads', type=int, default=LOADS)
    made.add_argument('--objects', type=int, default=OBJECTS)
    made.add_argument('--policies', nargs='+', choices=sorted(POLICIES), default=list(POLICIES))
    made.add_argument('--all', action='store_true', help='compare on all workloads and recordings')
    made.add_argument('--jobs', type=int, default=1, help='processes, for --all')
    return made


def main() -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args()
    try:
        if options.all:
            return compare_all(options)
        found = accesses(options)
        rates = table(found, sizes_of(found, options), options.policies)
    except (OSError, ValueError) as error:
        print(f'cache_policies.py: {error}', file=sys.stderr)
        return 2
    labels = [f'{share:.0%}' for share in SHARES]
    print_line('hit rate, %', labels)
    for name, values in rates.items():
        print_line(name, [f'{100 * value:.1f}' for value in values])
    print()
    print(text_plot(rates, labels))
    return 0


if __name__ == '__main__':
    sys.exit(main())
