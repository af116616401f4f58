"""zodbshootout on this ZEO and on ZEO 6, one after the other, in the same way.

Enters: the run. Leaves: what zodbshootout prints of both, and PASS and FAIL lines. Fails: as
zodbshootout does.
"""

from __future__ import annotations

import json
from typing import Any

from environments import run as run_command
from processes import Processes, configuration, free_ports

CONF = """\
<zodb zeo>
  <zeoclient>
    server 127.0.0.1:{port}
    cache-size 100MB
  </zeoclient>
</zodb>
"""
BENCHMARKS = ['add', 'update', 'cold', 'warm', 'new_oid', 'store', 'tpc']


def check_zodbshootout(run: Any) -> None:
    """Run it on both, and show the results side by side."""
    times: dict[str, dict[str, float]] = {}
    for side, name in (('ours', 'this ZEO'), ('peer', 'ZEO 6')):
        run.report.section(f'zodbshootout on {name}')
        with run.report.guard():
            times[side] = _shoot(run, side)
            run.report.check(
                f'{len(times[side])} benchmarks ran',
                len(times[side]) >= len(BENCHMARKS),
                sorted(times[side]),
            )
    if len(times) == 2:
        run.report.say('means in milliseconds, with 2 processes (this ZEO, ZEO 6):')
        for name in times['ours']:
            run.report.say(
                f'{name:50} {times["ours"][name] * 1000:10.2f} '
                f'{times["peer"].get(name, float("nan")) * 1000:10.2f}'
            )


def _shoot(run: Any, side: str) -> dict[str, float]:
    python = run.python('zodbshootout', side)
    directory = run.scratch / f'zodbshootout-{side}'
    directory.mkdir()
    (port,) = free_ports(1)
    with Processes(directory) as processes:
        processes.serve(python, configuration(port, directory), ('127.0.0.1', port))
        (directory / 'shootout.conf').write_text(CONF.format(port=port))
        command = [
            python.parent / 'zodbshootout',
            '--include-mapping',
            'no',
            '-c',
            '2',
            '--object-counts',
            '100',
            '-p',
            '1',
            '-n',
            '3',
            '-w',
            '1',
            '-l',
            '1',
            '-o',
            'result.json',
            'shootout.conf',
            *BENCHMARKS,
        ]
        run.report.say('zodbshootout ' + ' '.join(command[1:]))
        run_command(command, cwd=directory, timeout=240)
    result = json.loads((directory / 'result.json').read_text())
    return {_name(benchmark, result): _mean(benchmark) for benchmark in result['benchmarks']}


def _name(benchmark: dict, result: dict) -> str:
    return benchmark.get('metadata', {}).get('name') or result.get('metadata', {}).get(
        'name', 'benchmark'
    )


def _mean(benchmark: dict) -> float:
    values = [value for one in benchmark['runs'] for value in one.get('values', ())]
    return sum(values) / len(values) if values else float('nan')
