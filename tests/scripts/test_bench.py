"""The benchmark: its table, its arithmetic, and that a run ends with figures or a reason.

No time is asserted anywhere.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'scripts'))

from benchlib import report, runner, zopes  # noqa: E402
from benchlib.catalogue import LIMIT, OURS, PEER, ROWS, Row, Target, select  # noqa: E402
from benchlib.environments import Implementation  # noqa: E402
from benchlib.rawclient import RawClient, encode  # noqa: E402
from benchlib.registry import workload  # noqa: E402
from benchlib.worker import JOBS, run_job  # noqa: E402

from support.processes import Process, wait_until  # noqa: E402

SOURCE = str(ROOT / 'src')


def row(**changes):
    return Row(
        **{'name': 'r', 'title': 'a row', 'job': 'ping', 'parameters': {'seconds': 0.05}, **changes}
    )


def test_every_row_has_its_own_name_and_a_job():
    assert len({r.name for r in ROWS}) == len(ROWS)
    assert {r.job for r in ROWS} <= set(JOBS)


def test_targets_refer_to_the_peer_or_to_another_row():
    others = {r.name for r in ROWS}
    assert {t.against for r in ROWS for t in r.targets} <= others | {PEER}


def test_a_target_may_compare_two_figures_of_ours():
    rows = [r for r in select('busy-10') if r.name != 'busy-10'] + select('busy-10')[-1:]
    results = {
        r.key(False): {OURS: [{'server_us': us}], PEER: [{'server_us': 40.0}]}
        for r, us in zip(rows, (20.0, 21.0), strict=True)
    }
    *_, line = report.make_lines(rows, results, False)
    assert [round(ratio, 3) for _, ratio, _ in line.verdicts] == [0.525, 1.05]
    assert all(met for *_, met in line.verdicts)


def test_rows_that_share_a_job_allow_it_the_same_rounds_and_time():
    first = {}
    for r in ROWS:
        seen = first.setdefault(r.key(False), r)
        assert (r.rounds, r.timeout, r.limit) == (seen.rounds, seen.timeout, seen.limit)


def test_choosing_rows_brings_the_limits_they_refer_to():
    assert [r.name for r in select('commit-1-file')] == ['bare-commit-1', 'commit-1-file']
    assert {'load-1mb', 'load-unix'} < {r.name for r in select('load-*')}


def test_an_unknown_workload_is_an_error():
    with pytest.raises(ValueError, match='nosuch'):
        select('nosuch')


def test_a_ratio_is_the_median_of_the_rounds_that_have_both():
    assert report.ratio_of([10, None, 30, 80], [5, 1, 10, 10]) == 3
    assert report.ratio_of([None], [1]) is None


@pytest.mark.parametrize(
    'target, ratio, met',
    [
        (Target(6), 6.0, True),
        (Target(6), 5.99, False),
        (Target(1 / 7, False), 0.1, True),
        (Target(1 / 7, False), 0.2, False),
    ],
)
def test_a_target_is_met_on_its_own_side(target, ratio, met):
    assert target.met(ratio) is met


def test_the_table_shows_figures_ratio_and_missed_targets():
    r = row(targets=(Target(6),))
    results = {
        r.key(False): {
            PEER: [{'rate': 100.0, 'client_us': 90.0, 'server_us': 10.0}],
            OURS: [{'rate': 400.0, 'client_us': 20.0, 'server_us': 5.0}],
        }
    }
    lines = report.make_lines([r], results, False)
    assert lines[0].cells() == [
        'a row',
        '100 /s',
        '400 /s',
        '4.00',
        '90 → 20',
        '10 → 5',
        '4×',
        '≥ 6: 4.00 MISSED',
    ]
    assert 'Missed: r (≥ 6).' in report.as_text(lines)
    assert '     - 400 /s' in report.as_rst(lines, {'cores': '2'})


def test_the_table_shows_why_a_figure_is_missing():
    r = row(limit=True)
    lines = report.make_lines([r], {r.key(False): {LIMIT: [{'skipped': 'no redis'}]}}, False)
    assert lines[0].cells()[2] == 'skipped: no redis'


def test_a_raw_client_cuts_frames_at_any_byte():
    client = RawClient.__new__(RawClient)
    client.buffer = bytearray()
    stream, found = encode(1, False, 'ping', ()) + encode(2, False, 'ping', ()), []
    for i in range(len(stream)):
        client.buffer += stream[i : i + 1]
        found += client.frames()
    assert found == [encode(1, False, 'ping', ())[4:], encode(2, False, 'ping', ())[4:]]


def living(group):
    """The processes of a group; those that only wait for init to take note of their end left
    out.
    """
    found = []
    for process in Path('/proc').glob('[0-9]*'):
        try:
            state, _, process_group = (process / 'stat').read_text().rpartition(')')[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state not in 'ZX':
            found.append(process.name)
    return found


def expect_none_living(groups):
    """A killed process may take a moment to go; one that was not killed never goes."""
    wait_until(lambda: not any(living(group) for group in groups))
    assert [living(group) for group in groups] == [[] for _ in groups]


@pytest.fixture
def groups(monkeypatch):
    """The process groups that the runner has killed, for a look whether anyone lives in them."""
    seen, kill = [], runner.kill_group

    def remember(group):
        seen.append(group)
        kill(group)

    monkeypatch.setattr(runner, 'kill_group', remember)
    return seen


def test_a_failing_job_gives_its_error_and_leaves_no_process(groups, tmp_path):
    broken = tmp_path / 'ZEO'
    broken.mkdir()
    (broken / '__init__.py').write_text('raise ImportError("broken on purpose")')
    result = runner.run_job(Implementation(sys.executable, (str(tmp_path),)), row(), False)
    assert 'the server did not start' in result['error']
    assert 'broken on purpose' in result['error']
    assert result['said'][-1].endswith(result['error'])  # the end of the traceback
    expect_none_living(groups)


def test_a_job_that_takes_too_long_is_ended(groups):
    slow = row(parameters={'seconds': 3600}, timeout=0.5)
    result = runner.run_job(Implementation(sys.executable, (SOURCE,)), slow, False)
    assert result['error'] == 'gave no result; it had 0.5 s'
    expect_none_living(groups)


def test_a_job_that_dies_shows_the_last_lines_that_it_printed(tmp_path):
    program = tmp_path / 'python'
    program.write_text('#!/bin/sh\necho a warning >&2; echo why >&2; echo and how >&2; exit 1\n')
    program.chmod(0o755)
    said, rows, results = [], [row()], {}
    both = Implementation(str(program)), Implementation(str(program))
    runner.run_rounds(rows, *both, 1, False, results, said.append)
    assert said[0].splitlines()[1:] == ['    a warning', '    why', '    and how']


def test_a_job_ends_when_its_driver_is_gone(tmp_path):
    implementation = Implementation(sys.executable, (SOURCE,))
    worker = Process(
        [sys.executable, '-m', 'benchlib.worker', 'ping', '{"seconds": 3600}'],
        cwd=tmp_path,
        env=implementation.environment(),
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    worker.wait_until((tmp_path / 'server.out').exists)
    worker.close(30)
    expect_none_living([worker.pid])


COMMAND = [
    sys.executable,
    str(ROOT / 'scripts' / 'bench.py'),
    '--quick',
    '--peer-python',
    sys.executable,
    '--peer-path',
    SOURCE,
    '--our-python',
    sys.executable,
]


def test_the_rows_are_listed_by_a_python_without_zodb():
    command = [sys.executable, '-S', str(ROOT / 'scripts' / 'bench.py'), '--list']
    done = subprocess.run(command, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [r.name for r in ROWS]


def test_a_walk_through_a_site_is_skipped_where_its_framework_is_missing(monkeypatch):
    monkeypatch.setitem(zopes.NEEDS, 'zope', ('no_such_framework',))
    result = run_job('walk_site', {'kind': 'zope', 'read_ahead': 'off'})
    assert 'pip install Zope' in result['skipped']


def test_two_jobs_of_one_name_are_refused():
    def ping():
        """Another function of that name."""

    with pytest.raises(ValueError, match='two functions ping'):
        workload()(ping)


@pytest.mark.slow
def test_an_interrupted_run_shows_what_it_has():
    command = Process([*COMMAND, '--rounds', '1000', '--only', 'ping'])
    command.errors.wait_for('round 2')
    status, output, errors = command.end(signal.SIGINT)
    assert status == 0 and 'interrupted' in errors
    assert output.splitlines()[2].startswith('ping ')


@pytest.mark.slow
def test_the_command_measures_and_prints_a_table(tmp_path):
    done = subprocess.run(
        [
            *COMMAND,
            '--rounds',
            '1',
            '--only',
            'ping,load-memory',
            '--json',
            str(tmp_path / 'all.json'),
            '--rst',
            str(tmp_path / 'table.rst'),
        ],
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stderr
    assert 'cold load, 1 thread, Unix socket, in-memory storage' in done.stdout
    for job in json.loads((tmp_path / 'all.json').read_text())['results'].values():
        for runs in job.values():
            assert [run['count'] > 0 for run in runs] == [True], done.stderr
    assert (tmp_path / 'table.rst').read_text().count('   * -') == 3
