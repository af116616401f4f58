"""The metrics as text, in the two forms that Prometheus reads.

Enters: a server that is watched. Leaves: OpenMetrics 1.0, or the older text format 0.0.4. Fails:
never; a metric whose source fails is left out.

It is made in pieces, between which the loop serves others: a server may have hundreds of storages.
"""

from __future__ import annotations

from collections.abc import Iterator

from ZEO.net.loop import ENDS
from ZEO.serving.histogram import Histogram
from ZEO.serving.monitor.families import HISTOGRAM, INFO, Family
from ZEO.serving.monitor.of_replication import REPLICATION
from ZEO.serving.monitor.of_server import SERVER
from ZEO.serving.monitor.of_storage import STORAGE
from ZEO.serving.monitor.watched import Watched

#: The media types, and what follows them in the answer.
OPEN_METRICS, PLAIN = 'application/openmetrics-text', 'text/plain'
PARAMETERS = {
    OPEN_METRICS: '; version=1.0.0; charset=utf-8',
    PLAIN: '; version=0.0.4; charset=utf-8',
}

_IN_LABELS = str.maketrans({'\\': r'\\', '\n': r'\n', '"': r'\"'})
_IN_HELP = str.maketrans({'\\': r'\\', '\n': r'\n'})


def pieces(server: Watched, kind: str) -> Iterator[str]:
    """Yield the text of all metrics, piece by piece.

    :param kind: one of the two media types.
    """
    is_open = kind == OPEN_METRICS
    for family in SERVER:
        yield _head(family, is_open) + _lines(server, family, server, ())
    for family in (*STORAGE, *REPLICATION):
        yield _head(family, is_open)
        for name, hosted in server.storages.items():
            yield _lines(server, family, hosted, (name,))
    if is_open:
        yield '# EOF\n'


def _head(family: Family, is_open: bool) -> str:
    name, kind = family.full_name, family.kind
    if is_open:
        name = family.name
    elif kind == INFO:
        kind = 'gauge'
    unit = f'# UNIT {name} {family.unit}\n' if is_open and family.unit else ''
    text = family.text.translate(_IN_LABELS if is_open else _IN_HELP)
    return f'# HELP {name} {text}\n# TYPE {name} {kind}\n{unit}'


def _lines(server: Watched, family: Family, source: object, first: tuple[str, ...]) -> str:
    """Return the samples of a metric; none if its source fails."""
    names = (*(('storage',) if first else ()), *family.labels)
    try:
        return ''.join(
            _histogram(family.name, names, values, value)
            if family.kind == HISTOGRAM
            else f'{family.full_name}{labels(names, values)} {number(value)}\n'
            for values, value in family.samples(source, first)
        )
    except ENDS:
        raise
    except BaseException as error:  # a storage of any kind; the other metrics are wanted then
        server.loop.reports.failed(
            f'{family.full_name} cannot be found', ' '.join(first) or 'server', error
        )
        return ''


def _histogram(name: str, names: tuple[str, ...], values: tuple[str, ...], found: Histogram) -> str:
    lines = [
        f'{name}_bucket{labels((*names, "le"), (*values, number(float(bound))))} {count}\n'
        for bound, count in found.up_to()
    ]
    shown = labels(names, values)
    sums = f'{name}_sum{shown} {number(found.sum)}\n{name}_count{shown} {found.count}\n'
    return ''.join([*lines, sums])


def labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return labels as both forms write them."""
    if not names:
        return ''
    pairs = [f'{name}="{_text(value)}"' for name, value in zip(names, values, strict=True)]
    return '{' + ','.join(pairs) + '}'


def _text(value: str) -> str:
    # names of storages may have anything in them, also half of a pair of UTF-16
    return value.translate(_IN_LABELS).encode('utf-8', 'replace').decode()


def number(value: float) -> str:
    """Return a number as both forms write it.

    :raises TypeError: for what is not one, such as the size that a storage of another kind says.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'{value!r} is not a number')
    if value == float('inf'):
        return '+Inf'
    return repr(value)
