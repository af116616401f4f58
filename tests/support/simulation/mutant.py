"""Runs histories with a mistake in the code until one is not right: ``python -m
support.simulation.mutant NAME FIRST MOST``.

Enters: the name of a mutation (``-`` for none), the first plan, how many at most. Leaves: a line
with the number of histories, and the kinds of anomalies of the last one. Fails: with status 1 when
all are right.
"""

from __future__ import annotations

import sys
from itertools import count, islice

from support.simulation.mutation import install
from support.simulation.mutations import BY_NAME


def main(name: str, first: str, most: str) -> int:
    """Run histories; return the exit status."""
    having = BY_NAME[name].having if name != '-' else ''
    if name != '-':
        install(BY_NAME[name])
    # now, with the mistake
    from support.simulation.planning import plan_of
    from support.simulation.simulate import run

    plans = (plan_of(seed) for seed in count(int(first)))
    wanted = (plan for plan in plans if not having or plan.has_kind(having))
    for number, plan in enumerate(islice(wanted, int(most))):
        outcome = run(plan)
        if outcome.anomalies:
            kinds = sorted({anomaly.kind for anomaly in outcome.anomalies})
            print(number + 1, ', '.join(kinds), sep='\t')
            return 0
    print(f'none of {most} histories shows it')
    return 1


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
