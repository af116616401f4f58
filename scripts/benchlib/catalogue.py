"""What is measured: the rows that the modules of the jobs have registered, in the table's order.

Enters: the names of chosen rows. Leaves: rows. Fails: ValueError for a name that is not there.
"""

from __future__ import annotations

from importlib import import_module

from .registry import JOBS, LIMIT, OURS, PEER, ROLES, ROWS, Row, Target

__all__ = ['JOBS', 'LIMIT', 'OURS', 'PEER', 'ROLES', 'ROWS', 'Row', 'Target', 'select']

#: The modules that register jobs and roles, in the order in which the table shows their rows.
MODULES = (
    'limits',
    'loads',
    'commits',
    'fleet',
    'bulk',
    'lifecycle',
    'zodblevel',
    'ahead',
    'site_walks',
    'rawclient',
)

for module in MODULES:
    import_module(f'.{module}', __package__)


def select(names: str) -> list[Row]:
    """Return the rows of a comma-separated list; '' is all; 'load-*' is what begins with 'load-'.

    The limits that the targets of chosen rows refer to come along.  Raises ValueError for a name
    that is not in the table.
    """
    if not names:
        return list(ROWS)
    chosen: set[str] = set()
    for name in names.split(','):
        found = {
            row.name
            for row in ROWS
            if row.name == name or (name.endswith('*') and row.name.startswith(name[:-1]))
        }
        if not found:
            raise ValueError(f'no workload {name!r}; --list shows them all')
        chosen |= found
    chosen |= {target.against for row in ROWS if row.name in chosen for target in row.targets}
    return [row for row in ROWS if row.name in chosen]
