"""zeo top and zeo pack in a terminal: what a person sees."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from support.terminals import Terminal
from ZEO.commands import packs, zeo
from ZEO.commands.zeo_top import fitted

TOP = 'import sys; {}from ZEO.commands.zeo import main; sys.exit(main())'
WITH_RICH = TOP.format('import rich; ')
WITHOUT = TOP.format('sys.modules["rich"] = None; ')


@pytest.fixture
def busy(serving, clients):
    """The address of a server with many clients."""
    address = str(serving(MappingStorage()).addr)
    for number in range(12):
        clients(address, client_label=f'application-{number}-{"of-a-long-name" * 3}').ping()
    return address


@pytest.mark.parametrize('code', [WITH_RICH, WITHOUT])
@pytest.mark.parametrize(('columns', 'rows'), [(80, 24), (40, 10)])
def test_top_fits_into_the_terminal(busy, code, columns, rows):
    command = [sys.executable, '-c', code, 'top', busy, '--every=.1']
    with Terminal(command, columns, rows) as terminal:
        fit = min(12, rows - 4)
        lines = terminal.wait_until(
            lambda lines: (
                sum(' 0/s ' in line for line in lines) == fit
                and ('more lines' in lines[-1]) == (fit < 12)
                and '12 clients, 0 loads/s' in lines[2]
            ),
            f'{fit} clients',
        )
        assert lines[0].startswith(busy[:20]) and ': ZEO 7' in lines[0]
        assert lines[2].startswith('storage 1: 12 clients, 0 loads/s')
        assert lines[3].endswith('…'), 'a long line is cut, not wrapped'
        assert terminal.end(signal.SIGINT) == 130
        assert not terminal.has_scrolled


def test_lines_are_cut_to_what_there_is():
    assert fitted(['a' * 10, 'b'], 10, 2) == ['a' * 10, 'b']
    assert fitted(['a' * 11, 'b'], 10, 2) == ['a' * 9 + '…', 'b']
    assert fitted(['a', 'b', 'c'], 80, 2) == ['a', '… 2 more lines: make the window higher']


class Slow(FileStorage):
    """A storage whose packs wait, half done."""

    def __init__(self, path):
        super().__init__(str(path))
        self.goes_on = threading.Event()

    def pack(self, t, referencesf, gc=None):
        name = f'{self._file_name}.pack'
        with open(name, 'wb') as file:
            file.write(b'x' * (self.getSize() // 2))
        self.goes_on.wait(30)
        os.unlink(name)


def test_packs_of_two_servers_are_shown_as_they_go_on(serving, tmp_path):
    storages = [Slow(tmp_path / f'{number}.fs') for number in range(2)]
    one, two = (str(serving(storage).addr) for storage in storages)
    command = [sys.executable, '-m', 'ZEO', 'pack', '-u', one, '-u', two, '--at-once=2']
    with Terminal(command, 200) as terminal:
        states = [rf'storage 1 of {path}: 50 % after \d\.\d s' for path in (one, two)]
        terminal.wait_for(rf'^zeo pack \(0 of 2 done\): {"; ".join(states)}')
        storages[1].goes_on.set()
        terminal.wait_for(rf'^zeo pack \(1 of 2 done\): {states[0]}')
        storages[0].goes_on.set()
        assert terminal.end() == 0
        assert [line.partition(':')[0] for line in terminal.lines] == [
            f'storage 1 of {two}',
            f'storage 1 of {one}',
        ]


def test_where_there_is_no_terminal_packs_have_a_line_now_and_then(
    serving, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(packs, '_ELSEWHERE', 0.0)
    storage = Slow(tmp_path / 'a.fs')
    address = str(serving(storage).addr)
    thread = threading.Thread(target=zeo.main, args=[['pack', '-u', address]], daemon=True)
    thread.start()
    said = ''
    while f'zeo pack: storage 1 of {address}: 50 % after' not in said:
        thread.join(0.01)
        assert thread.is_alive()
        said += capsys.readouterr().err
    storage.goes_on.set()
    thread.join(30)
    assert '\r' not in said and capsys.readouterr().out.startswith(
        f'storage 1 of {address}: packed'
    )
