#!/usr/bin/env python3
"""Measure this ZEO and the ZEO 6 of PyPI with the same work, in turn, and print a table.

    python scripts/bench.py                         everything (half an hour)
    python scripts/bench.py --quick                 small sizes: does it run?
    python scripts/bench.py --only 'load-*,ping'    some workloads, and the limits they refer to

Every measurement is a process of its own that starts a server, works as its client and is ended
together with all it has started.  docs/operating/performance.rst tells how each figure comes about.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / 'scripts'), str(TOP / 'tests')]

from benchlib import plot, report  # noqa: E402
from benchlib.catalogue import ROWS, Row, select  # noqa: E402
from benchlib.environments import (  # noqa: E402
    ROOT,
    EnvironmentFailed,
    Implementation,
    machine,
    make_peer,
    our_python,
)
from benchlib.runner import Results, run_rounds  # noqa: E402

LISTED = ('Python', 'ZODB', 'persistent', 'transaction', 'BTrees', 'uvloop')


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    add = parser.add_argument
    add(
        '--peer-python',
        metavar='PYTHON',
        help='a Python that has ZEO 6 from PyPI; default: an environment made below build/bench',
    )
    add('--peer-path', metavar='DIR', default='', help="what comes first on the peer's path")
    add(
        '--uvloop',
        action='store_true',
        help='make that environment with uvloop, with which ZEO 6 is faster',
    )
    add('--our-python', metavar='PYTHON', help='a Python that has ZODB, to run this ZEO')
    add(
        '--our-path',
        metavar='DIR',
        default=str(ROOT / 'src'),
        help="what comes first on our Python's path ('' for nothing); default: %(default)s",
    )
    add(
        '--only',
        metavar='NAMES',
        default='',
        help="workloads, separated by commas; 'load-*' for all that begin so",
    )
    add(
        '--rounds',
        type=int,
        default=4,
        metavar='N',
        help='times that each workload runs on each of the two; default: %(default)s',
    )
    add('--quick', action='store_true', help='small sizes, for a smoke test')
    add(
        '--nice',
        type=int,
        default=0,
        metavar='N',
        help='priority of what is measured; -15, for root only, where others use the machine too',
    )
    add('--list', action='store_true', help='show the workloads and their targets')
    add(
        '--load',
        metavar='FILE',
        help='take the results of an earlier --json; what is measured now replaces them',
    )
    add('--no-run', action='store_true', help='measure nothing: print what --load has')
    add('--json', metavar='FILE', help='write all results')
    add('--rst', metavar='FILE', help='write the table as reStructuredText')
    add('--plot', metavar='FILE', help='draw the ratios (needs matplotlib)')
    return parser.parse_args(argv)


def list_rows() -> None:
    """Print the workloads and their targets."""
    for row in ROWS:
        targets = '; '.join(str(target) for target in row.targets)
        print(f'{row.name:22} {row.title:60} {targets}'.rstrip())


def implementations(options: argparse.Namespace) -> tuple[Implementation, Implementation]:
    """Return the peer and ours."""
    # Measurements run in directories of their own; and abspath, for resolve() would leave a virtual
    # environment.
    peer = (
        os.path.abspath(options.peer_python) if options.peer_python else make_peer(options.uvloop)
    )
    ours = os.path.abspath(options.our_python) if options.our_python else our_python(peer)
    return (
        Implementation(peer, tuple(filter(None, [options.peer_path])), options.nice),
        Implementation(ours, tuple(filter(None, [options.our_path])), options.nice),
    )


def facts_about(
    peer: Implementation, ours: Implementation, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what the figures depend on."""
    versions, our_versions = peer.versions(), ours.versions()
    for name in LISTED:
        if versions.get(name) != our_versions.get(name):
            print(
                f'note: {name} is {versions.get(name)} for the peer, {our_versions.get(name)} '
                f'for ours',
                file=sys.stderr,
            )
    software = ', '.join(
        f'{name} {versions[name]}' for name in ('ZEO', *LISTED) if name in versions
    )
    return {
        **machine(),
        'compared with': software,
        'date': time.strftime('%Y-%m-%d', time.gmtime()),
        'rounds': str(options.rounds) + (' (quick)' if options.quick else ''),
    }


def measure(options: argparse.Namespace, rows: list[Row], results: Results) -> dict[str, Any]:
    """Run the workloads into `results`; return what they depend on.  Ctrl-C ends it early."""
    peer, ours = implementations(options)
    facts = facts_about(peer, ours, options)
    try:
        run_rounds(
            rows,
            peer,
            ours,
            options.rounds,
            options.quick,
            results,
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    except KeyboardInterrupt:
        print('interrupted: what follows is what has been measured', file=sys.stderr)
    return facts


def show(
    options: argparse.Namespace, rows: list[Row], results: Results, facts: dict[str, Any]
) -> None:
    """Print the table and write the files that were asked for."""
    lines = report.make_lines(rows, results, options.quick)
    if options.json:
        Path(options.json).write_text(json.dumps({'facts': facts, 'results': results}, indent=1))
    if options.rst:
        Path(options.rst).write_text(report.as_rst(lines, facts))
    print(report.as_text(lines))
    if options.plot:
        plot.draw(lines, results, options.quick, options.plot)


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    options = parse(argv)
    if options.list:
        list_rows()
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rows = select(options.only)
        earlier = json.loads(Path(options.load).read_text()) if options.load else {}
        results, facts = earlier.get('results', {}), earlier.get('facts', {})
        if not options.no_run:
            facts = measure(options, rows, results)
        show(options, ROWS if options.load else rows, results, facts)
    except (EnvironmentFailed, plot.PlotFailed, ValueError, OSError) as error:
        print(f'bench.py: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
