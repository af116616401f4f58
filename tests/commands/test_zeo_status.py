"""zeo-status: figures for people and for programs."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ZEO
from support.probed import FIGURES, Stand
from ZEO.commands import zeo_status
from ZEO.commands.zeo_status import describe, main


def lines(figures, now=1000.0):
    """Return what people read, as label -> value."""
    found = describe(figures, now)
    return {line[4:32].strip(): line[32:] for line in found}


def test_figures_for_people():
    shown = lines({**FIGURES, 'lock_time': 990.0, 'packing': True, 'new-figure': None,
                   'last-transaction': '0400000000000000'})
    assert shown['objects loaded'] == '100'
    assert shown['commit lock held for'] == '10.0 s'
    assert shown['packing'] == 'yes'
    assert shown['new-figure'] == '-'
    assert shown['last transaction'].endswith('UTC (0400000000000000)')
    assert 'timeout-thread-is-alive' not in shown


def test_figures_of_a_new_server():
    shown = lines({'lock_time': None, 'last-transaction': '0' * 16})
    assert shown == {'commit lock held for': 'not held', 'last transaction': 'none yet'}
    for odd in None, 'nonsense', '01':
        assert lines({'last-transaction': odd})['last transaction'] == str(odd)


def test_every_figure_of_a_server_is_shown(capsys):
    address, stop = ZEO.server()
    try:
        text = '{}:{}'.format(*address)
        assert main([text]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f'{text}: alive\n  storage 1\n    serving since ')
        for label in zeo_status.LABELS.values():
            assert f'\n    {label} ' in out
        assert main([text, '--json']) == 0
        assert json.loads(capsys.readouterr().out)[text]['1']['connections'] == 0
    finally:
        stop()


def test_some_answer_and_some_do_not(tmp_path, capsys):
    nobody = str(tmp_path / 'nobody')
    with Stand({'1': FIGURES}) as stand:
        assert main([nobody, stand.text]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f'{stand.text}: alive')
    assert err == f'zeo-status: {nobody}: No such file or directory\n'


def test_a_server_without_storages(capsys):
    with Stand({}) as stand:
        assert main([stand.text]) == 0
    assert capsys.readouterr().out == f'{stand.text}: alive, without storages\n'


def test_impatience(capsys):
    with Stand(b'', greeting=None) as stand:
        assert main([stand.text, '--timeout', '0.1']) == 2
    assert 'no answer within 0.1 seconds' in capsys.readouterr().err


@pytest.mark.parametrize('args', [[], ['nowhere'], ['--timeout', 'x', 'a:1'],
                                  ['--key', '/missing', 'a:1']])
def test_wrong_command_lines(args, capsys):
    assert main(args) == 2
    assert capsys.readouterr().err.startswith('zeo-status: ')


def test_nobody_reads_on():
    sources = str(Path(ZEO.__file__).parent.parent)
    read, write = os.pipe()
    os.close(read)
    with Stand({'1': FIGURES}) as stand, os.fdopen(write) as out:
        result = subprocess.run([sys.executable, '-m', 'ZEO.commands.zeo_status', stand.text],
                                stdout=out, stderr=subprocess.PIPE, timeout=50,
                                env={**os.environ, 'PYTHONPATH': sources})
    assert (result.returncode, result.stderr) == (0, b'')
