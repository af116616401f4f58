"""zeo-status: figures for people and for programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ZEO
from support.probed import FIGURES, Stand
from ZEO.ClientStorage import ClientStorage
from ZEO.commands import zeo_status
from ZEO.commands.zeo_status import describe, main

MOMENT = r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00'


def lines(figures, now=1000.0):
    """Return what people read, as label -> value."""
    found = describe(figures, now)
    return {line[4:32].strip(): line[32:] for line in found}


def test_figures_are_shown_in_plain_words():
    shown = lines(
        {
            **FIGURES,
            'lock_time': 990.0,
            'packing': True,
            'read-ahead': {'clients': 1, 'sent': 20},
            'new-figure': None,
            'last-transaction': '0400000000000000',
        }
    )
    assert shown['objects loaded'] == '100'
    assert shown['commit lock held for'] == '10 s'
    assert shown['packing'] == 'yes'
    assert shown['read ahead'] == 'clients: 1, sent: 20'
    assert shown['new figure'] == '-'
    assert shown['last transaction'].endswith('+00:00 (0400000000000000)')
    assert 'timeout-thread-is-alive' not in shown


def test_figures_of_a_new_server():
    shown = lines({'lock_time': None, 'last-transaction': '0' * 16})
    assert shown == {'commit lock held for': 'not held', 'last transaction': 'none yet'}
    for odd in None, 'nonsense', '01':
        assert lines({'last-transaction': odd})['last transaction'] == str(odd)


def test_every_figure_of_a_server_is_shown(capsys):
    address, stop = ZEO.server()
    client = ClientStorage(address, client_label='app', read_only=True)
    try:
        text = '{}:{}'.format(*address)
        assert main([text]) == 0
        out, err = capsys.readouterr()
        assert re.match(
            rf'{text}: alive, ZEO [^,]+, process \d+, up for \d\.\d s, '
            r'\d+\.\d MB of memory\n  storage 1\n'
            rf'    serving since {{15}}{MOMENT}\n',
            out,
        ), out
        for label in zeo_status.LABELS.values():
            assert f'\n    {label} ' in out
        assert re.search(
            rf'\n    clients\n      127\.0\.0\.1:\d+ \(app\), since {MOMENT}, 0 loads, 0 commits, '
            r'reading only\n$',
            out,
        )
        assert err == ''
        assert main([text, '--json']) == 0
        figures = json.loads(capsys.readouterr().out)[text]['1']
        assert (
            figures['connections'] == 1
            and figures['uptime'] >= 0
            and figures['lock-holder'] is None
        )
        assert [one['label'] for one in figures['clients']] == ['app']
    finally:
        client.close()
        stop()


def test_who_holds_the_commit_lock_is_shown():
    shown = lines(
        {'lock-holder': {'address': 'a:1', 'label': 'app', 'since': 'then'}, 'pack-progress': 0.366}
    )
    assert shown == {'commit lock held by': 'a:1 (app)', 'pack done': '37 %'}


def test_not_every_client_of_thousands_is_shown():
    clients = [
        {'address': f'a:{number}', 'label': '', 'since': 'then', 'loads': 1, 'commits': 2}
        for number in range(1000)
    ]
    shown = describe({'clients': clients, 'connections': 3000}, 0)
    assert shown[-2] == '      a:19, since then, 1 loads, 2 commits'
    assert shown[-1] == '      and 2980 more'
    assert (
        describe({'clients': clients[:21], 'connections': 21}, 0)[-1]
        == '      and 1 more: --json lists them'
    )


def test_a_server_that_tells_clients_no_more_than_strangers(capsys):
    with Stand({'1': FIGURES}, {'1': FIGURES}) as stand:
        assert main([stand.text]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f'{stand.text}: alive\n')
    assert 'serving since               Mon Nov 23 12:31:48 2026' in out
    assert err.startswith(f'zeo-status: {stand.text}: no details of storage 1: ')


def test_some_answer_and_some_do_not(tmp_path, capsys):
    nobody = str(tmp_path / 'nobody')
    with Stand({'1': FIGURES}) as stand:
        assert main([nobody, stand.text]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f'{stand.text}: alive')
    advice = 'start the server, or check the address'
    assert err.startswith(f'zeo-status: {nobody}: No such file or directory: {advice}\n')


def test_a_server_without_storages(capsys):
    with Stand({}) as stand:
        assert main([stand.text]) == 0
    assert capsys.readouterr().out == f'{stand.text}: alive, no storages for this client\n'


def test_what_a_server_sends_cannot_command_the_terminal_nor_stop_the_others(capsys):
    evil = {
        '1\x1b[2J': {'x\x1b[31m': '\x1b]0;title\x07', 'pid': '\x9b', 'uptime': 'x'},
        '2': {'lock_time': 'x'},
    }
    with Stand(evil, evil) as stand, Stand({'1': FIGURES}) as good:
        assert main([stand.text, good.text]) == 0
    out, err = capsys.readouterr()
    assert not {character for character in out + err if not character.isprintable()} - {'\n'}
    assert 'figures that are not those of a ZEO server' in out and f'{good.text}: alive' in out


def test_a_slow_server_is_reported_in_time(capsys):
    with Stand(b'', greeting=None) as stand:
        assert main([stand.text, '--timeout', '0.1']) == 2
    assert 'no answer within 0.1 seconds' in capsys.readouterr().err


@pytest.mark.parametrize(
    'args',
    [
        [],
        ['nowhere'],
        ['--timeout', 'x', 'a:1'],
        ['--timeout', '-1', 'a:1'],
        ['--timeout', '0', 'a:1'],
        ['--timeout', 'nan', 'a:1'],
        ['--timeout', 'inf', 'a:1'],
        ['--key', '/missing', 'a:1'],
    ],
)
def test_a_wrong_command_line_is_one_line(args, capsys):
    assert main(args) == 2
    assert capsys.readouterr().err.startswith('zeo-status: ')


def test_a_closed_pipe_is_not_an_error():
    sources = str(Path(ZEO.__file__).parent.parent)
    read, write = os.pipe()
    os.close(read)
    with Stand({'1': FIGURES}) as stand, os.fdopen(write) as out:
        result = subprocess.run(
            [sys.executable, '-m', 'ZEO.commands.zeo_status', stand.text],
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=50,
            env={**os.environ, 'PYTHONPATH': sources},
        )
    assert result.returncode == 0
    assert b'Traceback' not in result.stderr and b'Broken' not in result.stderr
