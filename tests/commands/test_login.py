"""Commands that prove who uses them, at a server with passwords and rules."""

import io
import sys

import pytest

import ZEO
from ZEO.commands import zeo_passwd, zeo_status, zeopack
from ZEO.commands.options import Parser, add_login, login_options
from ZEO.Exceptions import ConfigurationError
from ZEO.wire import scram

SECRET = 'correct horse battery'


@pytest.fixture
def address(tmp_path, monkeypatch):
    """A server with a user that may read and one that may pack, and no one else."""
    monkeypatch.setattr('ZEO.serving.access.secrets.ITERATIONS', scram.LEAST_ITERATIONS)
    for name in 'reader', 'ops':
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(SECRET.encode())))
        assert zeo_passwd.main([str(tmp_path / 'users'), name, '--stdin']) == 0
    where, stop = ZEO.server(
        port=str(tmp_path / 's'),
        zeo_conf={'password-file': str(tmp_path / 'users')},
        access=['user ops admin', 'user reader read'],
    )
    (tmp_path / 'secret').write_text(f'{SECRET}\nmore\n')
    monkeypatch.chdir(tmp_path)
    yield where
    stop()


def test_the_status_is_shown_to_a_user_that_may_read(address, capsys):
    login = ['--username', 'reader', '--password-from', 'secret']
    assert zeo_status.main([address, *login]) == 0
    printed = capsys.readouterr().out
    assert 'storage 1' in printed and 'last transaction' in printed


def test_without_a_user_the_server_only_is_alive(address, capsys):
    assert zeo_status.main([address]) == 0
    assert 'alive, no storages for this client' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['reader', 'stranger'])
def test_a_wrong_password_is_one_line(address, name, capsys, monkeypatch):
    monkeypatch.setenv('ZEO_PASSWORD', 'guessed')
    assert zeo_status.main([address, '--username', name]) == 2
    assert 'does not accept the user name with this password' in capsys.readouterr().err


def test_a_storage_that_there_is_not_is_an_error(address, capsys):
    login = ['--username', 'reader', '--password-from', 'secret']
    assert zeo_status.main([address, '--storage', 'other', *login]) == 2
    err = capsys.readouterr().err
    assert "no details of storage other: there is no storage 'other' on this server" in err


def test_only_an_admin_packs(address, capsys):
    login = ['--password-from', 'secret', '--username']
    assert zeopack.main(['-u', address, *login, 'reader']) == 1
    assert 'needs the right admin' in capsys.readouterr().err
    assert zeopack.main(['-u', address, *login, 'ops']) == 0
    assert ': packed to ' in capsys.readouterr().out


def test_a_name_that_no_user_can_have_is_an_error_of_the_command_line(address, capsys):
    login = ['--password-from', 'secret', '--username', 'a:b']
    assert zeo_status.main([address, *login]) == 2
    assert zeopack.main(['-u', address, *login]) == 2
    assert capsys.readouterr().err.count('blanks and colons are not accepted') == 2


def asked(*args):
    parser = Parser('command')
    add_login(parser)
    return login_options(parser.parse_args(list(args)))


def test_where_the_password_comes_from(tmp_path, monkeypatch):
    (tmp_path / 'secret').write_text('one\ntwo\n')
    found = asked('--username', 'x', '--password-from', str(tmp_path / 'secret'))
    assert found == {'username': 'x', 'password': 'one'}
    monkeypatch.setattr(sys, 'stdin', io.StringIO('three\n'))
    assert asked('--username', 'x', '--password-from', '-')['password'] == 'three'
    monkeypatch.setenv('ZEO_PASSWORD', 'four')
    assert asked('--username', 'x')['password'] == 'four'
    assert asked() == {'username': None, 'password': None}


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['--username', 'x'], 'there is no password for x'),
        (['--username', 'x', '--password-from', '/no/such'], '/no/such: No such file'),
        (['--username', 'x', '--password-from', '/dev/null'], 'the password of x is empty'),
        (['--username', '', '--password-from', '/dev/null'], 'a name is needed'),
        (['--password-from', '/dev/null'], 'give --username NAME as well'),
    ],
)
def test_what_is_wrong_with_a_login(args, words, monkeypatch):
    monkeypatch.setattr(sys, 'stdin', io.StringIO())
    with pytest.raises(ConfigurationError, match=words):
        asked(*args)
