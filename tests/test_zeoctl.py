"""zeoctl: a server under zdaemon, and what it says when it cannot act."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ZODB.FileStorage import FileStorage

import ZEO
from support.processes import listens, wait_until
from ZEO import zeoctl
from ZEO.commands.probing import probe

SOURCES = str(Path(ZEO.__file__).parent.parent)
MAPPING = '<mappingstorage>\n</mappingstorage>\n'


def zeo(directory, storages):
    """Return the configuration of a server that listens on a socket in a directory."""
    return f'<zeo>\naddress {directory}/s\n</zeo>\n{storages}'


def test_the_schema_of_zeoctl_is_beside_it():
    assert os.path.isfile(zeoctl.SCHEMA)


def test_zeoctl_without_zdaemon(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'zdaemon', None)
    monkeypatch.setitem(sys.modules, 'zdaemon.zdctl', None)
    with pytest.raises(SystemExit) as caught:
        zeoctl.main(['-C', 'zeo.conf', 'status'])
    assert caught.value.code == 2
    assert 'pip install zdaemon' in capsys.readouterr().err


@pytest.mark.parametrize(
    'args, words',
    [
        (['-C', 'missing.conf', 'start'], 'zeoctl: missing.conf: cannot be read: No such file'),
        (['-C', 'zeo.conf', 'start'], "zeoctl: zeo.conf, line 2: 'adress' is not a known key"),
        (['start'], 'zeoctl: no program specified; use -p or -C; see zeoctl --help'),
    ],
)
def test_zeoctl_says_in_one_line_what_is_wrong(tmp_path, monkeypatch, capsys, args, words):
    pytest.importorskip('zdaemon')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'zeo.conf').write_text('<zeo>\nadress 1\n</zeo>\n')
    with pytest.raises(SystemExit) as caught:
        zeoctl.main(args)
    assert caught.value.code == 2
    out, error = capsys.readouterr()
    assert out == '' and error.startswith(words) and error.count('\n') == 1


class Control:
    """zeoctl with a configuration file."""

    def __init__(self, directory, runner, text):
        self._command = [sys.executable, '-m', 'ZEO.zeoctl', '-C', f'{directory}/zeo.conf']
        (directory / 'zeo.conf').write_text(
            f'<runner>\nprogram {sys.executable} -m ZEO.runzeo -C {directory}/zeo.conf\n'
            f'socket-name {directory}/zdsock\n{runner}</runner>\n{text}'
        )

    def run(self, action):
        return subprocess.run(
            [*self._command, action],
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, 'PYTHONPATH': SOURCES},
        ).stdout


def test_zeoctl_with_zdaemon(tmp_path):
    pytest.importorskip('zdaemon')
    control = Control(tmp_path, '', zeo(tmp_path, MAPPING))
    try:
        assert 'started' in control.run('start')
        wait_until(lambda: listens(f'{tmp_path}/s'))
        assert list(probe(f'{tmp_path}/s')) == ['1']
        assert 'running' in control.run('status')
    finally:
        control.run('stop')
    wait_until(lambda: not (tmp_path / 's').exists())
    shutil.rmtree(tmp_path)


def test_zdaemon_goes_on_until_a_locked_file_is_free(tmp_path):
    """With the lines that every recipe writes into zeo.conf."""
    pytest.importorskip('zdaemon')
    log = tmp_path / 'zeo.log'
    control = Control(
        tmp_path,
        'forever false\nexit-codes 0, 2\n',
        zeo(
            tmp_path,
            f'<filestorage>\npath {tmp_path}/Data.fs\n</filestorage>\n'
            f'<eventlog>\n<logfile>\npath {log}\n</logfile>\n</eventlog>\n',
        ),
    )
    holder = FileStorage(str(tmp_path / 'Data.fs'))
    try:
        control.run('start')
        wait_until(lambda: log.exists() and log.read_text().count('has the database open') >= 2)
        holder.close()
        wait_until(lambda: listens(f'{tmp_path}/s'))
        assert list(probe(f'{tmp_path}/s')) == ['1']
    finally:
        holder.close()
        control.run('stop')
    wait_until(lambda: not (tmp_path / 's').exists())
