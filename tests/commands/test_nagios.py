"""zeo-nagios: what a monitoring program reads, byte by byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ZEO
from support.probed import FIGURES, Stand
from ZEO import nagios
from ZEO.net.system import REAL

LATER = {**FIGURES, 'loads': 200, 'stores': 50}
EMPTY = {**FIGURES, 'last-transaction': '0' * 16}


@pytest.fixture
def clock(monkeypatch):
    """Return a list of the times that are told."""
    times = [1000.0]
    monkeypatch.setattr(REAL, 'wall_clock', lambda: times[-1])
    return times


@pytest.fixture
def run(capsys):
    """Run the command against the answers of a stand-in; return its status and what it prints."""

    def call(answer, *args):
        with Stand(answer) as stand:
            return nagios.main([*args, stand.text]), capsys.readouterr().out

    return call


def test_a_server_in_order_is_ok(run):
    assert run({'1': FIGURES}) == (0, 'OK\n')


def test_metrics_stand_behind_a_bar(run):
    assert run({'1': FIGURES}, '-m') == (0, 'OK|active_txns=0\n| connections=3\n waiting=0\n')


def test_metrics_of_several_storages(run):
    assert run({'two': EMPTY, '1': EMPTY}, '--output-metrics') == (
        1,
        """\
Empty storage '1'|active_txns=0
Empty storage 'two'
| connections=3
 waiting=0
 two:active_txns=0
 two:connections=3
 two:waiting=0
""",
    )


def test_a_server_without_storages_is_a_warning(run):
    assert run({}, '-m') == (1, 'No storages that this client may see\n')


@pytest.mark.parametrize(
    'unit, loads, stores',
    [
        (['-u', 'seconds'], 10.0, 3.0),
        ([], 600.0, 180.0),
        (['-u', 'minutes'], 600.0, 180.0),
        (['-u', 'hours'], 36000.0, 10800.0),
        (['--time-units', 'days'], 864000.0, 259200.0),
    ],
)
def test_counters_become_rates_between_two_runs(run, clock, tmp_path, unit, loads, stores):
    path = str(tmp_path / 'status')
    status, first = run({'1': FIGURES}, '-m', '-s', path, *unit)
    assert 'loads' not in first
    clock.append(1010.0)
    assert run({'1': LATER}, '-m', '--status-path', path, *unit) == (
        0,
        f"""\
OK|active_txns=0
| connections=3
 waiting=0
 aborts=0.0
 commits=0.0
 conflicts=0.0
 conflicts_resolved=0.0
 loads={loads}
 stores={stores}
""",
    )
    assert os.listdir(tmp_path) == ['status']


def test_no_rates_across_a_restart(run, clock, tmp_path):
    path = str(tmp_path / 'status')
    run({'1': LATER}, '-m', '-s', path)
    clock.append(1010.0)
    assert 'loads' not in run({'1': {**LATER, 'start': 'later'}}, '-m', '-s', path)[1]
    clock.append(1020.0)
    lines = run({'1': {**FIGURES, 'start': 'later'}}, '-m', '-s', path)[1]  # in the same second
    assert 'loads' not in lines and 'commits=0.0' in lines


def test_no_rates_without_time_between(run, clock, tmp_path):
    path = str(tmp_path / 'status')
    run({'1': FIGURES}, '-m', '-s', path)
    assert 'loads' not in run({'1': LATER}, '-m', '-s', path)[1]


@pytest.mark.parametrize('content', ['', 'junk', '[]', '{"1": {}}', '{"1": 2}'])
def test_status_files_of_no_use(run, tmp_path, content):
    path = tmp_path / 'status'
    path.write_text(content)
    assert run({'1': FIGURES}, '-m', '-s', str(path))[0] == 0
    assert json.loads(path.read_text())['1']['loads'] == 100


def test_a_status_file_that_cannot_be_written(run, tmp_path):
    status, out = run({'1': FIGURES}, '-s', str(tmp_path / 'missing' / 'status'))
    assert status == 1 and out.startswith('Cannot write')


def test_a_server_that_does_not_answer_is_an_error(run, tmp_path, capsys):
    status, out = run(b'junk')
    assert status == 2 and out.startswith("Can't connect ")
    assert nagios.main([str(tmp_path / 'nobody')]) == 2
    assert capsys.readouterr().out == (
        "Can't connect No such file or directory: start the server, or check the address\n"
    )


def test_a_unix_socket_without_a_slash(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    address, stop = ZEO.server(port=str(tmp_path / 'zeo.sock'))
    assert nagios.main(['zeo.sock']) == 1
    stop()
    assert capsys.readouterr().out == "Empty storage '1'\n"


def test_check_takes_the_text_of_a_command_line(capsys, tmp_path):
    with Stand({'1': FIGURES}) as stand:
        assert nagios.check(stand.text, True, None, 60) == 0
    assert capsys.readouterr().out == 'OK|active_txns=0\n| connections=3\n waiting=0\n'
    assert nagios.check(str(tmp_path / 'nobody'), False, None, 60) == 2


@pytest.mark.parametrize('unit, loads', [('seconds', 10.0), (1, 10.0), (60, 600.0)])
def test_rates_per_any_number_of_seconds(clock, tmp_path, capsys, unit, loads):
    status = str(tmp_path / 'status')
    with Stand({'1': FIGURES}, {'1': LATER}) as stand:
        nagios.check(stand.text, True, status, unit)
        clock.append(1010.0)
        capsys.readouterr()
        nagios.check(stand.text, True, status, unit)
    assert f'loads={loads}' in capsys.readouterr().out


@pytest.mark.parametrize(
    'args',
    [
        [],
        ['a', 'b'],
        ['banana'],
        ['-u', 'fortnights', 'a:1'],
        ['a:x'],
        ['--certificate', '/missing', 'a:1'],
    ],
)
def test_a_wrong_command_line_is_one_line(args, capsys):
    assert nagios.main(args) == 2
    assert capsys.readouterr().err.startswith('zeo-nagios: ')


def test_it_runs_as_a_module():
    sources = str(Path(ZEO.__file__).parent.parent)
    with Stand({'1': FIGURES}) as stand:
        result = subprocess.run(
            [sys.executable, '-m', 'ZEO.nagios', stand.text],
            timeout=50,
            capture_output=True,
            env={**os.environ, 'PYTHONPATH': sources},
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, b'OK\n', b'')
