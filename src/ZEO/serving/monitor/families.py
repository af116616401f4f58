"""What a metric is: its name, what it means, and where its samples come from.

Enters: rows of a table. Leaves: metrics, which yield samples when they are asked. Fails: with what
the source of a metric raises; the exposition leaves that one out.

Names follow the conventions of Prometheus: base units, counters end in ``_total``. No metric is for
each client: those would be as many as a site ever had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

COUNTER, GAUGE, HISTOGRAM, INFO = 'counter', 'gauge', 'histogram', 'info'

#: What each kind adds to its name.
_SUFFIXES = {COUNTER: '_total', INFO: '_info'}

#: Values of a metric's labels, and the number or :class:`~ZEO.serving.histogram.Histogram`.
Sample = tuple[tuple[str, ...], Any]


class Family(NamedTuple):
    """One metric.

    :param of: returns a number or a histogram; with `label` a dict of them, by the values of that
        label; None where there is nothing to show. It is given the server, or one storage.
    :param label: one more label than the storage's name; of an info metric, those that it has.
    """

    name: str
    kind: str
    text: str  # what it means, for people
    of: Callable[[Any], Any]
    label: str | tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its own labels."""
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def full_name(self) -> str:
        """The name that queries use."""
        return self.name + _SUFFIXES.get(self.kind, '')

    @property
    def unit(self) -> str:
        """Its unit, where the name has one."""
        last = self.name.rpartition('_')[2]
        return last if last in ('seconds', 'bytes', 'ratio') else ''

    def samples(self, source: Any, first: tuple[str, ...] = ()) -> Iterator[Sample]:
        """Yield its samples.

        :param first: values of labels that all of them have.
        """
        found = self.of(source)
        if isinstance(found, dict):
            for key, value in found.items():
                yield (*first, *((key,) if isinstance(key, str) else key)), value
        elif found is not None:
            yield first, found
