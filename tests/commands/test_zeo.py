"""zeo: one command, whose own commands are modules that are imported when they are needed."""

import inspect
import os
import signal
import subprocess
import sys
from importlib import import_module

import pytest

import ZEO
from support.processes import Process
from ZEO.commands import zeo
from ZEO.version import version


def run(*args):
    """Run the command as a process; return the finished process."""
    return subprocess.run(
        [sys.executable, '-m', 'ZEO', *args],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, 'COLUMNS': '80'},
    )


def names():
    return [command.name for group in zeo.COMMANDS.values() for command in group]


def test_help_lists_every_command_in_one_line_each(capsys):
    assert zeo.main(['--help']) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for group, commands in zeo.COMMANDS.items():
        assert f'\n{group}:\n' in printed
        for command in commands:
            assert f'\n  {command.name} ' in printed and command.summary in printed


def test_without_a_command_the_list_is_an_error():
    done = run()
    assert (done.returncode, done.stdout) == (2, '') and 'usage: zeo COMMAND' in done.stderr


def test_its_version(capsys):
    assert zeo.main(['--version']) == 0
    assert capsys.readouterr().out == f'ZEO {version()}\n'


@pytest.mark.parametrize(
    ('typed', 'hint'), [('stauts', '"status"'), ('packs', '"pack"'), ('xyzzy', '"zeo --help"')]
)
def test_the_nearest_name_of_an_unknown_command_is_suggested(typed, hint, capsys):
    assert zeo.main([typed]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"zeo: there is no command '{typed}'")
    assert hint in printed and printed.count('\n') == 1


def test_an_unknown_switch_is_called_one(capsys):
    assert zeo.main(['--frobnicate']) == 2
    assert "there is no switch '--frobnicate'" in capsys.readouterr().err


@pytest.mark.parametrize('name', names())
def test_every_command_can_be_called_and_has_help_under_its_name_here(name, capsys):
    module = import_module(zeo._BY_NAME[name].module)
    assert list(inspect.signature(module.main).parameters)[:1]
    for args in [name, '--help'], ['help', name]:
        with pytest.raises(SystemExit) as end:
            zeo.main(args)
        assert end.value.code == 0
        assert f'usage: zeo {name} ' in capsys.readouterr().out


@pytest.mark.parametrize(
    'args', [['pack', '--frob'], ['status', '--frob'], ['cache', 'check', '/no/such'], ['serve']]
)
def test_errors_begin_with_the_name_that_was_typed(args, capsys):
    if args == ['serve']:
        args = ['serve', '-p', 'x']
    assert zeo.main(args) == 2
    assert capsys.readouterr().err.startswith(f'zeo {args[0]}: ')


def test_the_old_names_are_the_same_after_it(capsys):
    """What a command is called is forgotten when it has ended."""
    zeo.main(['pack', '--frob'])
    from ZEO.commands import zeopack

    assert zeopack.main(['--frob']) == 2
    assert capsys.readouterr().err.splitlines()[1].startswith('zeopack: ')


def test_only_the_module_of_the_command_is_imported():
    code = (
        'import sys; from ZEO.commands.zeo import main; main(["--help"]);'
        'print([name for name in sys.modules if name.startswith("ZEO.") and "zeo_" in name])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=50)
    assert done.stdout.splitlines()[-1] == '[]', done.stderr


def test_an_interrupt_ends_it_as_a_shell_expects(monkeypatch):
    from ZEO.commands import zeo_status

    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(zeo_status, 'main', interrupted)
    assert zeo.main(['status']) == 128 + signal.SIGINT


@pytest.mark.parametrize(
    'module, args',
    [
        ('commands.zeopack', ['9100']),
        ('commands.zeo_status', ['9100']),
        ('commands.zeo_cache', ['check', 'x.zec']),
        ('nagios', ['127.0.0.1:9100']),
    ],
)
def test_an_interrupt_ends_a_command_with_a_name_of_its_own_in_the_same_way(
    monkeypatch, module, args
):
    def interrupted(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr('ZEO.commands.options.Parser.parse_args', interrupted)
    assert import_module(f'ZEO.{module}').main(args) == 128 + signal.SIGINT


@pytest.mark.smoke
def test_a_server_is_started_and_shown(tmp_path):
    server = Process(
        [sys.executable, '-m', 'ZEO', 'serve', '-U', str(tmp_path / 's')], cwd=tmp_path
    )
    try:
        server.output.wait_for('Serving storage 1')
        done = run('status', str(tmp_path / 's'))
        assert done.returncode == 0 and ': alive' in done.stdout
    finally:
        assert server.end(signal.SIGTERM)[0] == 0


CONFIGURATION = """\
<zeo>
  address 127.0.0.1:8100
  address {0}/zeo.sock
  read-only on
</zeo>
<filestorage>
  path {0}/Data.fs
</filestorage>
<mappingstorage scratch>
</mappingstorage>
"""


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / 'zeo.conf'
    path.write_text(CONFIGURATION.format(tmp_path))
    return path


def test_serve_takes_a_configuration_file(conf, capsys):
    assert zeo.main(['serve', '-C', str(conf), '--check']) == 0
    assert capsys.readouterr().out == 'zeo serve: the configuration is in order\n'


def test_check_says_what_a_server_would_do_and_does_nothing(conf, tmp_path, capsys):
    assert zeo.main(['check', str(conf)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        'would listen on 127.0.0.1:8100 without TLS',
        f'would listen on {tmp_path}/zeo.sock',
        f'would serve storage 1: FileStorage {tmp_path}/Data.fs, for reading only',
        'would serve storage scratch: MappingStorage, for reading only',
        'would let every client that can connect do everything',
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['zeo.conf']


def test_check_shows_the_rules(conf, capsys):
    rules = (
        '<access>\nrule unix-user 0 admin\n</access>\n<access scratch>\nrule anyone read\n</access>'
    )
    conf.write_text(conf.read_text().replace('read-only on', rules))
    assert zeo.main(['check', str(conf)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        'would allow for every storage: unix-user 0 admin',
        'would allow for storage scratch: anyone read',
    ]


def test_check_shows_the_line_of_what_is_wrong(conf, capsys):
    conf.write_text(conf.read_text().replace('read-only on', 'raed-only on'))
    assert zeo.main(['check', str(conf)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith('zeo check: ') and 'zeo.conf, line 4' in printed


def test_check_has_a_status_of_its_own_for_what_may_pass(conf, tmp_path, capsys):
    conf.write_text(
        conf.read_text()
        + f'<eventlog>\n<logfile>\npath {tmp_path}/no/log\n</logfile>\n</eventlog>\n'
    )
    assert zeo.main(['check', str(conf)]) == 1
    assert 'create it first' in capsys.readouterr().err


def test_check_prints_warnings_also_when_it_is_quiet(conf, capsys):
    conf.write_text(conf.read_text().replace('read-only on', 'authentication-realm y'))
    assert zeo.main(['check', '-q', str(conf)]) == 0
    out, err = capsys.readouterr()
    assert out == '' and (err == '' or err.startswith('zeo check: warning: '))


def test_the_package_runs_as_a_module():
    assert run('--version').stdout == f'ZEO {ZEO.version.version()}\n'
