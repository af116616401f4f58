"""Counts the histories after which each mutation is found, and writes them into a page.

Enters: the options of ``scripts/simulate.py``. Leaves: a table. Fails: with status 1 when one of
them is not found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from support.simulation.mutation import Mutation
from support.simulation.mutations import BY_NAME, MUTATIONS

#: Plans between the first plans of two runs.
_APART = 100_000

#: Where the table is in the page.
BEGIN, END = '.. mutations of the simulator\n', '.. end of the mutations\n'

Row = tuple[Mutation, list[int], set[str]]


def main(options: Any) -> int:
    """Do what the options say; return the exit status."""
    wanted = [BY_NAME[name] for name in options.only] if options.only else MUTATIONS
    rows = []
    with ThreadPoolExecutor(options.jobs) as threads:
        for row in threads.map(partial(_row, options), wanted):
            print(_line(row), flush=True)
            rows.append(row)
    if options.page:
        _write(Path(options.page), rows)
    return 0 if all(len(counts) == options.runs for _, counts, _ in rows) else 1


def _row(options: Any, mutation: Mutation) -> Row:
    counts: list[int] = []
    kinds: set[str] = set()
    for number in range(options.runs):
        found = histories(mutation.name, options.first + number * _APART, options.most)
        if found is not None:
            counts.append(found[0])
            kinds.update(found[1])
    return mutation, counts, kinds


def histories(name: str, first: int, most: int) -> tuple[int, list[str]] | None:
    """Return after how many histories a mutation is found, and as what; None if it is not."""
    child = subprocess.run(
        [sys.executable, '-m', 'support.simulation.mutant', name, str(first), str(most)],
        env={**os.environ, 'PYTHONHASHSEED': '0', 'PYTHONPATH': str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.returncode == 0:
        number, kinds = child.stdout.strip().splitlines()[-1].split('\t')
        return int(number), kinds.split(', ')
    if child.returncode == 1 and child.stdout.startswith('none'):
        return None
    raise RuntimeError(f'the child with {name} has failed with {child.returncode}')


def _line(row: Row) -> str:
    mutation, counts, kinds = row
    text = f'{median(counts):g} (of {counts})' if counts else 'not found'
    return f'{mutation.name}: {text}: {", ".join(sorted(kinds))}'


def table(rows: list[Row]) -> str:
    """Return the table for the page."""
    lines = ['.. list-table::', '   :header-rows: 1', '   :widths: 46 12 8 34', '']
    for cells in (
        ('What is wrong', 'Histories', 'Runs', 'Found as'),
        *(
            (
                mutation.what,
                f'{median(counts):,.0f}' if counts else 'not found',
                str(len(counts)),
                '; '.join(sorted(kinds)[:3]) or f'by ``{mutation.elsewhere}``',
            )
            for mutation, counts, kinds in rows
        ),
    ):
        lines += [f'   * - {cells[0]}', *(f'     - {cell}' for cell in cells[1:])]
    return '\n'.join(lines) + '\n'


def _write(page: Path, rows: list[Row]) -> None:
    text = page.read_text()
    before, rest = text.split(BEGIN)
    behind = rest.split(END)[1]
    page.write_text(f'{before}{BEGIN}\n{table(rows)}\n{END}{behind}')
