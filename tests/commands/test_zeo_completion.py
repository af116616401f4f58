"""zeo completion: scripts for shells, made of the table of commands."""

import shutil
import subprocess
import sys

import pytest

from ZEO.commands import zeo

COMMANDS = [command for group in zeo.COMMANDS.values() for command in group]


@pytest.mark.parametrize('command', COMMANDS, ids=lambda command: command.name)
def test_every_command_has_a_parser(command):
    assert command.parser().format_help()


@pytest.mark.parametrize('shell', ['bash', 'zsh'])
def test_the_script_has_every_command(shell, capsys):
    pytest.importorskip('shtab')
    assert zeo.main(['completion', shell]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS:
        assert command.name in script
    assert '--to-blobs' in script


def test_bash_completes_commands_and_switches(tmp_path, capsys):
    pytest.importorskip('shtab')
    if shutil.which('bash') is None:
        pytest.skip('there is no bash')
    assert zeo.main(['completion', 'bash']) == 0
    script = capsys.readouterr().out
    ask = (
        'COMP_WORDS=(zeo {0}); COMP_CWORD={1}; '
        '$(complete -p zeo | sed "s/.*-F \\([^ ]*\\) .*/\\1/"); echo "${{COMPREPLY[@]}}"'
    )
    for words, number, wanted in ('ba', 1, 'backup'), ('backup --kee', 2, '--keep'):
        done = subprocess.run(
            ['bash', '-c', f'{script}\n{ask.format(words, number)}'],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.stdout.split() == [wanted], done.stderr


def test_without_the_package_one_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'shtab', None)
    assert zeo.main(['completion', 'bash']) == 2
    assert 'pip install "ZEO[completion]"' in capsys.readouterr().err
