"""What has to hold of a server that was attacked.

Enters: a target, its readings, the good client's figures. Leaves: sentences about what does not
hold; figures. Fails: never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .good import AT_REST
from .targets import Reading, Target

#: Of answers to the good client beyond what they take from a server at rest, but for commits to the
#: storage that is attacked, which wait their turn.
WORST_LATENCY = 0.5  # seconds
WORST_IN_QUEUE = 30.0

#: What a server may have taken for good, besides what the attack has committed: allocator, caches,
#: what was loaded late.
RESIDENT_GROWTH = 24 * 2**20

#: What it may take for a while: the budgets of a few clients.
RESIDENT_PEAK = 256 * 2**20

#: Of the log: bytes per second of attack, and what any run may write.
LOG_RATE, LOG_START = 20_000, 200_000


@dataclass
class Bounds:
    """What is asked of the server, where a machine that others use may need another figure."""

    latency: float = WORST_LATENCY


def of_good_client(figures: dict[str, Any], bounds: Bounds) -> list[str]:
    """Judge what the good client has met."""
    wrong = [f'the good client failed: {text}' for text in figures['failed']]
    times = figures['times']
    for name, taken in times.items():
        if name.endswith(AT_REST):
            continue
        limit = (
            max(WORST_IN_QUEUE, bounds.latency)
            if name == 'commit behind the attack'
            else bounds.latency
        )
        # which a busy machine and a slow disk take by themselves
        limit += times.get(name + AT_REST, {'worst': 0.0})['worst']
        if taken['worst'] > limit:
            wrong.append(
                f'the good client waited {taken["worst"]:.3f} s for {name}, more than {limit:g} s'
            )
    if 'commit behind the attack' not in figures['times']:
        wrong.append('the good client never committed to the storage that is attacked')
    return wrong


def of_resources(
    target: Target, before: Reading, readings: list[Reading], after: Reading, committed: int
) -> list[str]:
    """Judge memory, files and log.

    :param before: when the server had served its first clients.
    :param readings: during the attack.
    :param after: when all clients were gone.
    :param committed: bytes by which the storages have grown.
    """
    wrong = []
    kept = after.resident - before.resident - 3 * committed
    if kept > RESIDENT_GROWTH:
        wrong.append(f'{kept / 2**20:.1f} MB of memory did not come back')
    peak = (
        max((reading.resident for reading in readings), default=0) - before.resident - 3 * committed
    )
    if peak > RESIDENT_PEAK:
        wrong.append(f'it took {peak / 2**20:.0f} MB of memory for a while')
    if after.files > before.files + 3:  # a FileStorage keeps a few files open for its readers
        wrong.append(f'{after.files} files are open, {before.files} were before the attack')
    seconds = after.when - before.when
    if after.log - before.log > LOG_START + LOG_RATE * seconds:
        wrong.append(f'the log grew by {(after.log - before.log) / 1e6:.1f} MB in {seconds:.0f} s')
    return wrong + of_files(target)


def of_files(target: Target) -> list[str]:
    """Judge what lies about, and what the server has said."""
    wrong = []
    leftovers = target.leftovers()
    if leftovers:
        wrong.append(f'{len(leftovers)} temporary files are left, such as {leftovers[0]}')
    if target.canary.exists():
        wrong.append('code that a client sent was run: the canary is there')
    text = target.log.read_text(errors='replace') if target.log.exists() else ''
    if 'Traceback' in text or 'Traceback' in target.said():
        wrong.append('there is a traceback in the log')
    return wrong
