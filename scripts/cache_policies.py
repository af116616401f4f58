#!/usr/bin/env python
"""Hit rates of models of eviction policies, on made-up accesses or on the trace of a client cache.

Enters: a workload's name or a trace file. Leaves: a table, and a plot of it as text. Fails: with
one line and exit status 2 for a wrong command line or a file that is not a trace.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence

from cache_lab import recorded
from cache_lab.policies import POLICIES
from cache_lab.workloads import WORKLOADS

from ZEO.cache import trace
from ZEO.cache.simulate import Access, accesses_of, hit_rate

#: Accesses to objects of 1 KB, as docs/operating/cache.rst compares them.
OBJECTS, LOADS, RECORD = 20_000, 200_000, 1000
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
    return made


def main() -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args()
    try:
        found = accesses(options)
        accessed = sum({oid: size for oid, size in found if size}.values())
        whole = accessed if options.trace or options.recorded else options.objects * RECORD
        rates = table(found, [max(int(whole * share), 1) for share in SHARES], options.policies)
    except (OSError, ValueError) as error:
        print(f'cache_policies.py: {error}', file=sys.stderr)
        return 2
    labels = [f'{share:.0%}' for share in SHARES]
    print('hit rate, %'.ljust(14) + ''.join(label.rjust(8) for label in labels))
    for name, values in rates.items():
        print(name.ljust(14) + ''.join(f'{100 * value:8.1f}' for value in values))
    print()
    print(text_plot(rates, labels))
    return 0


if __name__ == '__main__':
    sys.exit(main())
