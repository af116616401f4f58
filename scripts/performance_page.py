#!/usr/bin/env python3
"""Write the tables and the picture of docs/operating/performance.rst from the results kept there.

Enters: docs/operating/performance.json, as scripts/bench.py --json writes it. Leaves: beside it,
the whole table, a short one and a picture of the latter; and the results again, one workload to a
line. Fails: with exit status 1 and a line for each file that would change, when it is run with
--check.
"""

from __future__ import annotations

import argparse
import json
import sys
from html import escape
from math import log
from pathlib import Path
from statistics import median
from typing import Any

TOP = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TOP / 'scripts'), str(TOP / 'tests')]

from benchlib import report  # noqa: E402
from benchlib.catalogue import ROWS  # noqa: E402
from benchlib.report import Line  # noqa: E402

PAGES = TOP / 'docs' / 'operating'
RESULTS = 'performance.json'

#: What the short table and the picture show, as far as it has been measured, and how they call it;
#: also what is not faster.
CHOSEN = {
    'load-unix': 'load an object, Unix socket',
    'load-tcp': 'load an object, TCP',
    'load-tls': 'load an object, TLS',
    'load-16-processes': 'load an object, 16 processes at once',
    'hit-memory': 'read from the cache in memory',
    'hit-disk': 'read from the cache in a file',
    'iterate': 'iterate over the records',
    'copy-up': 'copy a database to the server',
    'commit-1-memory': 'commit 1 object, MappingStorage',
    'commit-1-file': 'commit 1 object, FileStorage',
    'commit-100-file': 'commit 100 objects, FileStorage',
    'commit-8-clients-file': 'commit 1 object, 8 clients at once, FileStorage',
    'mix': 'transactions of a ZODB application, 2 processes',
    'clients-100': 'load an object, 100 bare sockets at once',
    'blob-up': 'store a blob of 256 MB',
    'blob-down': 'load a blob of 256 MB',
    'latency-pack-p99': '99th percentile of a load during a pack',
    'read-ahead-btree': 'walk a BTree with an empty cache, 1 ms away',
    'read-ahead-pages': 'walk a site of pages with an empty cache, 1 ms away',
    'read-ahead-second-server': 'the same through a second server beside the client',
    'reconnect': 'reconnect after a restart of the server',
    'server-start': 'start a server',
}


#: What the page on tuning compares with a read from the cache in memory, and what it calls it.
COSTS = {
    'hit-memory': "the client's cache, in memory",
    'hit-disk': "the client's cache, in a file",
    'load-unix': 'the server, by a Unix socket',
    'load-tcp': 'the server, by TCP on one machine',
    'load-tls': 'the server, by TLS on one machine',
}


def times_better(line: Line) -> float:
    """Return how many times better than ZEO 6: of rates the ratio, of times its reciprocal."""
    assert line.ratio
    return line.ratio if line.row.metric == 'rate' else 1 / line.ratio


def summary(lines: list[Line]) -> str:
    """Return the short table."""
    text = [
        '.. Written by scripts/performance_page.py; changes made by hand are lost.',
        '',
        '.. list-table::',
        '   :header-rows: 1',
        '   :widths: 50 18 18 14',
        '',
        '   * - Work',
        '     - ZEO 6',
        '     - ZEO 7',
        '     - times better',
    ]
    for line in lines:
        text += [
            f'   * - {CHOSEN[line.row.name]}',
            f'     - {line.peer}',
            f'     - {line.ours}',
            f'     - {times_better(line):.1f}',
        ]
    return '\n'.join([*text, ''])


def costs(results: dict[str, Any]) -> str:
    """Return how many times as long a read takes from one place as from another: ratios, which
    depend less on the machine than times do.
    """
    rates = {
        row.name: median(run['rate'] for run in results[row.key(False)]['ours'] if 'rate' in run)
        for row in ROWS
        if row.name in COSTS
    }
    first = rates['hit-memory']
    return '\n'.join(
        [
            '.. Written by scripts/performance_page.py; changes made by hand are lost.',
            '',
            '.. list-table::',
            '   :header-rows: 1',
            '   :widths: 60 40',
            '',
            '   * - An object of 1 KB is read from',
            '     - time, as a multiple',
            *(
                f'   * - {title}\n     - {float(f"{first / rates[name]:.2g}"):g}'
                for name, title in COSTS.items()
            ),
            '',
        ]
    )


# Pixels of the picture: the height of a line, the place of the bars, and how long ×10 is.
LINE, LEFT, TEN_TIMES, TOP = 24, 330, 190, 34


def picture(lines: list[Line]) -> str:
    """Return the short table as bars, in SVG, in colours for light and dark pages."""
    width, height = LEFT + round(2 * TEN_TIMES) + 60, TOP + LINE * len(lines) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="13" fill="#808080">',
        '<title>How many times better than ZEO 6, on a logarithmic scale</title>',
    ]
    for mark in (0.5, 1, 2, 5, 10, 20, 50):
        x = _place(mark)
        parts.append(
            f'<path d="M{x} {TOP - 8}V{height - 6}" stroke="#808080" '
            f'stroke-width="{1.5 if mark == 1 else 0.4}"/>'
            f'<text x="{x}" y="{TOP - 14}" text-anchor="middle">{mark:g}</text>'
        )
    for number, line in enumerate(lines):
        parts.append(_bar(line, TOP + LINE * number))
    return '\n'.join([*parts, '</svg>', ''])


def _place(times: float) -> int:
    return round(LEFT + TEN_TIMES * (log(times, 10) + 0.35))


def _bar(line: Line, top: int) -> str:
    better = times_better(line)
    one, end = _place(1), _place(better)
    return (
        f'<text x="{LEFT}" y="{top + 16}" text-anchor="end">{escape(CHOSEN[line.row.name])}</text>'
        f'<rect x="{min(one, end)}" y="{top + 4}" width="{abs(end - one)}" height="{LINE - 8}" '
        f'fill="{"#2f80b5" if better >= 1 else "#c0603a"}"/>'
        f'<text x="{max(one, end) + 5}" y="{top + 16}">{better:.1f}</text>'
    )


def compact(stored: dict[str, Any]) -> str:
    """Return the results as JSON with one workload to a line."""
    rows = ',\n'.join(
        f'  {json.dumps(name)}: {json.dumps(runs)}' for name, runs in stored['results'].items()
    )
    return f'{{\n "facts": {json.dumps(stored["facts"])},\n "results": {{\n{rows}\n }}\n}}\n'


def files() -> dict[str, str]:
    """Return what the files should be: name -> text."""
    stored = json.loads((PAGES / RESULTS).read_text(encoding='utf-8'))
    lines = report.make_lines(ROWS, stored['results'], False)
    by_name = {line.row.name: line for line in lines}
    chosen = [by_name[name] for name in CHOSEN if name in by_name]
    return {
        RESULTS: compact(stored),
        'performance-table.inc': report.as_rst(lines, stored['facts']),
        'performance-summary.inc': summary(chosen),
        'performance.svg': picture(chosen),
        'tuning-costs.inc': costs(stored['results']),
    }


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
    parser.add_argument('--check', action='store_true', help='write nothing, say what would change')
    only_checks = parser.parse_args().check
    changed = {
        name: text
        for name, text in files().items()
        if not (PAGES / name).exists() or text != (PAGES / name).read_text(encoding='utf-8')
    }
    for name, text in changed.items():
        if only_checks:
            print(f'docs/operating/{name} does not show the results: run {Path(__file__).name}')
        else:
            (PAGES / name).write_text(text, encoding='utf-8')
    return 1 if changed and only_checks else 0


if __name__ == '__main__':
    sys.exit(main())
