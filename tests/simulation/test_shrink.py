"""A failing plan becomes a small one that fails as well."""

from support.simulation.plan import Plan
from support.simulation.planning import plan_of
from support.simulation.shrink import Shrinking, candidates, size


def large_plan():
    """A plan with a second server, several clients and faults."""
    return next(
        plan
        for plan in map(plan_of, range(1000))
        if plan.fan is not None and len(plan.clients) == 4 and len(plan.faults) == 4
    )


def test_what_is_not_needed_goes():
    """Here a plan fails where some client packs, and something is reset."""
    plan = next(
        plan
        for plan in map(plan_of, range(10_000))
        if plan.has('pack') and any(fault[1] == 'reset' for fault in plan.faults)
    )

    def fails(plan):
        return plan.has('pack') and any(fault[1] == 'reset' for fault in plan.faults)

    small = Shrinking(fails, 1000).smallest(plan)
    steps = [
        step for client in small.clients for life in client.lives for one in life for step in one
    ]
    assert steps == [['pack']]
    assert [fault[1] for fault in small.faults] == ['reset']
    assert len(small.clients) <= 2  # the one that is reset, and the one that packs
    assert small.fan is None and not any(one.options or one.file for one in small.clients)


def test_every_candidate_is_a_plan_of_its_own():
    plan = large_plan()
    before = plan.json()
    for candidate in candidates(plan):
        assert candidate != plan
        assert Plan.from_json(candidate.json()) == candidate
    assert plan.json() == before


def test_it_stops_after_some_runs():
    runs = []

    def fails(plan):
        runs.append(plan)
        return True

    small = Shrinking(fails, most_runs=7).smallest(large_plan())
    assert len(runs) == 7 and size(small) < size(large_plan())


def test_a_fault_that_hides_is_looked_for_with_other_seeds():
    plan = plan_of(1)
    small = Shrinking(lambda plan: plan.seed % 2 == 0, 1000).smallest(plan)
    assert small.seed % 2 == 0 and small.clients == []
