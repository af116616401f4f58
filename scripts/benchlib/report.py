"""Results as tables: plain text for a terminal, reStructuredText for the documents.

In: the catalogue's rows and what the jobs gave.  Out: text.  A figure is the median of its rounds;
a ratio is ours to the other's, round by round, and then the median of those.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from statistics import median
from typing import Any

from .catalogue import LIMIT, OURS, PEER, ROWS, Row, Target
from .runner import Results

HEADINGS = ['workload', 'ZEO 6', 'ours', 'ratio', 'client µs', 'server µs', 'CPU less', 'targets']


@dataclass(frozen=True)
class Line:
    """What the table says about one row; all fields are text except `ratio` and `met`."""

    row: Row
    peer: str
    ours: str
    ratio: float | None
    client: str
    server: str
    saving: str
    verdicts: list[tuple[Target, float, bool]]

    def cells(self) -> list[str]:
        """Return the cells of the table's line."""
        ratio = '' if self.ratio is None else f'{self.ratio:.2f}'
        verdicts = '; '.join(
            f'{target}: {value:.2f} {"met" if met else "MISSED"}'
            for target, value, met in self.verdicts
        )
        return [
            self.row.title,
            self.peer,
            self.ours,
            ratio,
            self.client,
            self.server,
            self.saving,
            verdicts,
        ]


def number(value: float) -> str:
    """Return a figure with three significant digits or none after the point."""
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'


def _figures(results: Results, row: Row, quick: bool, side: str, metric: str) -> list[Any]:
    runs = results.get(row.key(quick), {}).get(side, [])
    return [run.get(metric) for run in runs]


def _median(figures: list[Any]) -> float | None:
    present = [figure for figure in figures if figure is not None]
    return median(present) if present else None


def _shown(results: Results, row: Row, quick: bool, side: str) -> str:
    figures = _figures(results, row, quick, side, row.metric)
    value, failed = _median(figures), figures.count(None)
    if value is not None:
        rest = f' ({failed} of {len(figures)} failed)' if failed else ''
        return f'{number(value)} {row.unit}'.strip() + rest
    runs = results.get(row.key(quick), {}).get(side, [])
    for run in runs:
        for problem in ('error', 'skipped'):
            if problem in run:
                return f'{problem}: {run[problem]}'[:70]
    return ''


def ratio_of(ours: list[Any], others: list[Any]) -> float | None:
    """Return the median of the rounds' ratios; None where no round has both figures."""
    ratios = [a / b for a, b in zip(ours, others, strict=False) if a is not None and b]
    return median(ratios) if ratios else None


def _verdicts(results: Results, row: Row, quick: bool) -> list[tuple[Target, float, bool]]:
    by_name = {other.name: other for other in ROWS}
    verdicts = []
    for target in row.targets:
        metric = target.metric or row.metric
        ours = _figures(results, row, quick, OURS, metric)
        if target.against == PEER:
            others = _figures(results, row, quick, PEER, metric)
        else:
            other = by_name[target.against]
            side = LIMIT if other.limit else OURS
            others = _figures(results, other, quick, side, other.metric)
        ratio = ratio_of(ours, others)
        if ratio is not None:
            verdicts.append((target, ratio, target.met(ratio)))
    return verdicts


def _cpu(results: Results, row: Row, quick: bool, metric: str) -> str:
    if row.metric != 'rate':
        return ''
    sides = [LIMIT] if row.limit else [PEER, OURS]
    values = [_median(_figures(results, row, quick, side, metric)) for side in sides]
    if all(value is None for value in values):
        return ''
    return ' → '.join('?' if value is None else number(value) for value in values)


def _saving(results: Results, row: Row, quick: bool) -> str:
    """Return how many times less CPU time client and server take together: steadier than rates."""
    if row.metric != 'rate' or row.limit:
        return ''
    sums: list[list[Any]] = []
    for side in (PEER, OURS):
        client, server = (
            _figures(results, row, quick, side, metric) for metric in ('client_us', 'server_us')
        )
        sums.append(
            [(c or 0) + s if s is not None else None for c, s in zip(client, server, strict=True)]
        )
    ratio = ratio_of(*sums)
    return '' if ratio is None else f'{number(ratio)}×'


def make_lines(rows: list[Row], results: Results, quick: bool) -> list[Line]:
    """Return the table's lines: the rows that have been measured."""
    lines = []
    for row in rows:
        if row.key(quick) not in results:
            continue
        ratio = (
            None
            if row.limit
            else ratio_of(
                _figures(results, row, quick, OURS, row.metric),
                _figures(results, row, quick, PEER, row.metric),
            )
        )
        lines.append(
            Line(
                row,
                '' if row.limit else _shown(results, row, quick, PEER),
                _shown(results, row, quick, LIMIT if row.limit else OURS),
                ratio,
                _cpu(results, row, quick, 'client_us'),
                _cpu(results, row, quick, 'server_us'),
                _saving(results, row, quick),
                _verdicts(results, row, quick),
            )
        )
    return lines


def _width(text: str) -> int:
    return sum(not unicodedata.combining(character) for character in text)


def _padded(cells: list[str], widths: list[int]) -> list[str]:
    return [
        cell + ' ' * (width - _width(cell))
        if i in (0, len(cells) - 1)
        else ' ' * (width - _width(cell)) + cell
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]


def as_text(lines: list[Line]) -> str:
    """Return the table for a terminal."""
    cells = [HEADINGS, *(line.cells() for line in lines)]
    widths = [max(_width(column[i]) for column in cells) for i in range(len(HEADINGS))]
    text = ['  '.join(_padded(line, widths)).rstrip() for line in cells]
    text.insert(1, '  '.join('-' * width for width in widths))
    return '\n'.join([*text, '', summary(lines)])


def summary(lines: list[Line]) -> str:
    """Return how many targets are met, and which are missed."""
    verdicts = [(line.row.name, target, met) for line in lines for target, _, met in line.verdicts]
    missed = [f'{name} ({target})' for name, target, met in verdicts if not met]
    text = f'{len(verdicts) - len(missed)} of {len(verdicts)} targets met.'
    return text + (' Missed: ' + '; '.join(missed) + '.' if missed else '')


def as_rst(lines: list[Line], facts: dict[str, Any]) -> str:
    """Return the table and what it was measured on, to be included in a document."""
    text = ['.. Written by scripts/bench.py --rst; changes made by hand are lost.', '']
    for name, value in facts.items():
        text.append(f':{name}: {value}')
    text += ['', '.. list-table::', '   :header-rows: 1', '   :widths: 28 9 9 6 11 11 7 19', '']
    for cells in [HEADINGS, *(line.cells() for line in lines)]:
        for i, cell in enumerate(cells):
            text.append(('   * - ' if i == 0 else '     - ') + cell.replace('*', '\\*'))
    return '\n'.join(line.rstrip() for line in [*text, '', summary(lines), ''])
