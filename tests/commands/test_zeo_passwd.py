"""zeo passwd: passwords come from a terminal or standard input, and appear nowhere."""

import io
import os
import pty
import sys

import pytest

from ZEO.commands import zeo_passwd
from ZEO.serving.access import secrets_file
from ZEO.wire import scram

SECRET = 'correct horse battery'


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'passwords')


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    monkeypatch.setattr('ZEO.serving.access.secrets.ITERATIONS', scram.LEAST_ITERATIONS)


@pytest.fixture
def typed(monkeypatch):
    """Have lines come from standard input."""

    def give(data):
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(data)))

    return give


def proves(path, name, secret):
    found = secrets_file.read(path).verifiers[name]
    return scram.verifier(secret, scram.Challenge(found.salt, found.iterations)) == found


@pytest.mark.parametrize('end', ['\n', '\r\n', '', '\nsecond line\n'])
def test_a_password_from_standard_input(path, typed, capsys, end):
    typed((SECRET + end).encode())
    assert zeo_passwd.main([path, 'app', '--stdin']) == 0
    assert proves(path, 'app', SECRET)
    out, err = capsys.readouterr()
    assert out == f'the password of app is set in {path}\n' and err == ''


def test_a_password_is_normalised_as_at_the_client(path, typed):
    typed('pässword of some length'.encode())
    assert zeo_passwd.main([path, 'app', '--stdin']) == 0
    assert proves(path, 'app', 'pa\u0308ssword of some length')


def test_a_short_password_is_set_with_a_warning(path, typed, capsys):
    typed(b'short\n')
    assert zeo_passwd.main([path, 'app', '--stdin']) == 0
    assert 'warning: a password of less than 12 characters' in capsys.readouterr().err
    assert proves(path, 'app', 'short')


@pytest.mark.parametrize(
    'data, words',
    [
        (b'', 'it is empty'),
        (b'\n', 'it is empty'),
        (b'\xff\xfe-leak\n', 'it is not UTF-8'),
        (b'bell\x07-leak\n', 'control characters'),
        (b'leak' * 300, 'longer than 1000 bytes'),
    ],
)
def test_a_password_that_cannot_be_used_is_not_shown(path, typed, capsys, data, words):
    typed(data)
    assert zeo_passwd.main([path, 'app', '--stdin']) == 2
    err = capsys.readouterr().err
    assert words in err and 'leak' not in err
    assert not os.path.exists(path)


def test_users_are_listed_and_removed(path, typed, capsys):
    for name in ('b', 'a'):
        typed(SECRET.encode())
        zeo_passwd.main([path, name, '--stdin'])
    capsys.readouterr()
    assert zeo_passwd.main([path, '--list']) == 0
    assert capsys.readouterr().out == 'a\nb\n'
    assert zeo_passwd.main([path, 'a', '--delete']) == 0
    assert set(secrets_file.read(path).verifiers) == {'b'}
    assert zeo_passwd.main([path, 'a', '--delete']) == 2
    assert 'has no user' in capsys.readouterr().err


@pytest.mark.parametrize(
    'args, words',
    [
        ([], 'FILE'),
        (['FILE'], 'no user is named'),
        (['FILE', 'app'], 'give --stdin in a script'),
        (['FILE', 'a:b', '--stdin'], 'cannot be the name'),
        (['FILE', 'a b', '--stdin'], 'cannot be the name'),
        (['FILE', '', '--stdin'], 'cannot be the name'),
        (['FILE', 'x' * 200, '--stdin'], 'cannot be the name'),
        (['FILE', 'app', '--list'], 'leave USER out'),
        (['FILE', '--list', '--delete'], 'not allowed'),
        (['FILE', '--list'], 'does not exist'),
        (['FILE', 'app', '--delete'], 'does not exist'),
        (['FILE/x/y', 'app', '--stdin'], 'passwords/x: create it first'),
        (['FILE', 'app', 'password'], 'unrecognized'),
    ],
)
def test_mistakes_are_one_line(path, typed, capsys, args, words):
    typed(SECRET.encode())
    assert (
        zeo_passwd.main([path if arg == 'FILE' else arg.replace('FILE', path) for arg in args]) == 2
    )
    err = capsys.readouterr().err
    assert words in err and err.count('\n') == 1 and err.startswith('zeo passwd: ')
    assert not os.path.exists(path)


def on_a_terminal(path, *lines):
    """Run the command with a terminal, on which lines are typed; return its status and output."""
    pid, fd = pty.fork()
    if pid == 0:
        code = 'import sys; from ZEO.commands import zeo_passwd; sys.exit(zeo_passwd.main())'
        os.execv(sys.executable, [sys.executable, '-c', code, path, 'app'])
    shown = b''
    for line in lines:
        while not shown.endswith(b': '):
            shown += os.read(fd, 1000)
        os.write(fd, line + b'\n')
        shown += b'|'
    try:
        while data := os.read(fd, 1000):
            shown += data
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_a_terminal_is_asked_twice_and_shows_nothing(path):
    status, shown = on_a_terminal(path, SECRET.encode(), SECRET.encode())
    assert status == 0 and 'is set' in shown and SECRET not in shown
    assert proves(path, 'app', SECRET)


def test_a_mistyped_password_changes_nothing(path):
    status, shown = on_a_terminal(path, SECRET.encode(), b'correct house battery')
    assert status == 2 and 'not the same' in shown and 'battery' not in shown
    assert not os.path.exists(path)


def test_an_interrupted_question_changes_nothing(path):
    status, shown = on_a_terminal(path, b'\x03')
    assert status == 2 and 'no password was given' in shown
    assert not os.path.exists(path)
