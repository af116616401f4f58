"""The ratios as a picture of bars, and the growth with clients and cached records as lines.

Needs matplotlib, which is an extra; PlotFailed says so when it is missing.
"""

from __future__ import annotations

from statistics import median

from .catalogue import OURS, PEER, ROWS
from .report import Line
from .runner import Results

GROWTH = (
    ('clients-', 'rate', 'loads per second by number of clients'),
    ('clients-', 'server_us', 'server CPU µs per load by number of clients'),
    ('cached-', 'rate', 'warm hits per second by number of cached records'),
)


class PlotFailed(Exception):
    """The picture cannot be drawn."""


def draw(lines: list[Line], results: Results, quick: bool, path: str) -> None:
    """Write the picture to `path`; its suffix says which format."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotFailed('--plot needs matplotlib: pip install matplotlib') from None
    figure = Figure(figsize=(16, 4 + 0.25 * len(lines)), layout='constrained')
    grid = figure.add_gridspec(len(GROWTH), 2, width_ratios=[3, 2])
    _bars(figure.add_subplot(grid[:, 0]), lines)
    for i, (prefix, metric, title) in enumerate(GROWTH):
        _curves(figure.add_subplot(grid[i, 1]), results, quick, prefix, metric, title)
    figure.savefig(path)


def _bars(axes, lines: list[Line]) -> None:
    shown = [line for line in reversed(lines) if line.ratio]
    places = range(len(shown))
    missed = [any(not met for _, _, met in line.verdicts) for line in shown]
    axes.barh(
        places,
        [line.ratio for line in shown],
        color=['tab:red' if bad else 'tab:blue' for bad in missed],
    )
    axes.set_yticks(places, [line.row.title for line in shown])
    axes.axvline(1, color='black', linewidth=0.8)
    axes.set_xscale('log')
    axes.set_title('ours to ZEO 6 (rates: right is better; times and bytes: left is)')


def _curves(axes, results: Results, quick: bool, prefix: str, metric: str, title: str) -> None:
    for side, label in ((PEER, 'ZEO 6'), (OURS, 'ours')):
        points = []
        for row in ROWS:
            runs = results.get(row.key(quick), {}).get(side, [])
            figures = [run[metric] for run in runs if metric in run]
            if row.name.startswith(prefix) and figures:
                points.append((int(row.name.removeprefix(prefix)), median(figures)))
        axes.plot(*zip(*points, strict=True) if points else ([], []), marker='o', label=label)
    axes.set_xscale('log')
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.legend()
