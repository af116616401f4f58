#!/usr/bin/env python3
"""Run histories of servers and clients in a simulated world, and check each of them.

    python scripts/simulate.py --histories 10000 --jobs 2       the plans 0 to 9999
    python scripts/simulate.py --first 10000 --histories 90000  where that has ended
    python scripts/simulate.py --seed 4711                      one plan, with its history and log
    python scripts/simulate.py --plan FILE                      the same, of a plan as JSON
    python scripts/simulate.py --mutations                      find faults that are put in

A history that is not right is shown with its plan, which is made smaller first, and written to a
file. The exit status is 0 when all are right, and 1 when one is not. docs/developing/testing.rst
says what is simulated and what is checked.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests'))


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    add = parser.add_argument
    add('--histories', type=int, default=1000, metavar='N', help='default: %(default)s')
    add('--first', type=int, default=0, metavar='N', help='the first plan; default: %(default)s')
    add('--jobs', type=int, default=1, metavar='N', help='processes; default: %(default)s')
    add(
        '--having',
        choices=(
            'database',
            'grouped',
            'chains',
            'doors',
            'followers',
            'promotions',
            'losses',
            'blobs',
        ),
        help='only plans that have it',
    )
    add('--minutes', type=float, metavar='M', help='begin no history after that')
    add(
        '--failures',
        type=int,
        default=5,
        metavar='N',
        help='stop after so many; default: %(default)s',
    )
    add(
        '--keep',
        default='.',
        metavar='DIR',
        help='where plans that fail are written; default: here',
    )
    add(
        '--tries',
        type=int,
        default=400,
        metavar='N',
        help='at a smaller plan; default: %(default)s',
    )
    add('--seed', type=int, metavar='N', help='run one plan, and show everything')
    add('--plan', metavar='FILE', help='the same, for a plan in a file')
    add('--mutations', action='store_true', help='count the histories that find each mutation')
    add('--only', metavar='NAME', action='append', help='one mutation; may be repeated')
    add('--runs', type=int, default=3, metavar='N', help='of each mutation; default: %(default)s')
    add(
        '--most',
        type=int,
        default=2000,
        metavar='N',
        help='histories of one run; default: %(default)s',
    )
    add('--page', metavar='FILE', help='write the table of mutations into this page')
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    options = parse(argv)
    from support.simulation import campaign, mutations_table

    if options.keep:  # before it runs: what it finds is to be written there
        os.makedirs(options.keep, exist_ok=True)
    if options.mutations:
        return mutations_table.main(options)
    if options.seed is not None or options.plan:
        return campaign.show(options.seed, options.plan)
    return campaign.main(options)


if __name__ == '__main__':
    if os.environ.get('PYTHONHASHSEED') != '0':  # the order of sets is part of a history
        os.environ['PYTHONHASHSEED'] = '0'
        os.execv(sys.executable, [sys.executable, *sys.argv])
    sys.exit(main(sys.argv[1:]))
