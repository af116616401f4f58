"""The rows of the table and the jobs that they show, as the modules of the jobs register them.

Enters: functions that measure something, each with its rows: figures of it and the targets that
they have to meet. Leaves: ROWS, JOBS, ROLES. Fails: ValueError for a second function of one name.

Several rows may show different figures of one job with the same parameters; it then runs once a
round. This module and those of the jobs are imported by the driver and by the workers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

PEER, OURS, LIMIT = 'peer', 'ours', 'limit'


@dataclass(frozen=True)
class Target:
    """A ratio that has to be reached.

    bound: the ratio of our figure to the other; at_least: whether it has to be above the bound or
    below it; against: PEER, or the name of a limit's row; metric: of our job, if not the row's own.
    """

    bound: float
    at_least: bool = True
    against: str = PEER
    metric: str = ''

    def met(self, ratio: float) -> bool:
        """Tell whether a measured ratio meets the target."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        sign = '≥' if self.at_least else '≤'
        bound = f'{self.bound:g}' if self.bound >= 0.5 else f'1/{1 / self.bound:g}'
        what = {'client_us': 'client CPU ', 'server_us': 'server CPU '}.get(self.metric, '')
        return f'{what}{sign} {bound}' + ('' if self.against == PEER else f' of {self.against}')


@dataclass(frozen=True)
class Row:
    """One line of the table.

    parameters: those of the job; quick: parameters that --quick changes; metric, unit: which of
    its figures the line shows; limit: it does not depend on the implementation; rounds: the most
    that it is run; timeout: seconds one run may take; job: what the worker runs, which
    :func:`workload` fills in.
    """

    name: str
    title: str
    parameters: dict[str, Any]
    quick: dict[str, Any] = field(default_factory=dict)
    metric: str = 'rate'
    unit: str = '/s'
    targets: tuple[Target, ...] = ()
    limit: bool = False
    rounds: int = 1000
    timeout: float = 120.0
    job: str = ''

    def arguments(self, quick: bool) -> dict[str, Any]:
        """Return the job's parameters, small ones with `quick`."""
        return {**self.parameters, **(self.quick if quick else {})}

    def key(self, quick: bool) -> str:
        """Return what tells this job with these parameters from all others."""
        return f'{self.job} {json.dumps(self.arguments(quick), sort_keys=True)}'


FEW: dict[str, Any] = {'count': 500, 'seconds': 0.1}
SHORT: dict[str, Any] = {'seconds': 0.1}
LOADS: dict[str, Any] = {'count': 5000, 'seconds': 1.0}

F = TypeVar('F', bound=Callable[..., Any])

ROWS: list[Row] = []
JOBS: dict[str, Callable[..., dict[str, float]]] = {}
ROLES: dict[str, Callable[..., None]] = {}  # what the children of jobs do


def workload(*rows: Row) -> Callable[[F], F]:
    """Register the function that follows as a job, and the rows that show it, in their order."""

    def register(job: F) -> F:
        _add(JOBS, job)
        ROWS.extend(replace(row, job=job.__name__) for row in rows)
        return job

    return register


def role(child: F) -> F:
    """Register the function that follows as what a child of a job does."""
    _add(ROLES, child)
    return child


def _add(functions: dict[str, Any], function: Callable[..., Any]) -> None:
    if functions.setdefault(function.__name__, function) is not function:
        raise ValueError(f'there are two functions {function.__name__}')
