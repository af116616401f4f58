"""zeo certs, where it cannot do what it is asked for: one line, and nothing is changed."""

import fcntl
import os
import subprocess
import sys

import pytest

from support.certs import Certs, later
from ZEO.commands import authority as directories
from ZEO.commands.certificates import client_name, server_names
from ZEO.Exceptions import ConfigurationError


@pytest.fixture
def certs(tmp_path, capsys):
    return Certs(tmp_path / 'certs', capsys)


@pytest.fixture
def made(certs):
    """Have a server's certificate and a client's."""
    certs.make('--server', 'localhost,127.0.0.1,::1', '--client', 'app1')
    return certs


@pytest.mark.parametrize('name', ['', ',', 'a b/c', 'db:8100', '../x', '-x', 'x' * 300, 'dü.de'])
def test_wrong_names_of_servers_are_refused(certs, name):
    with pytest.raises(ConfigurationError):
        server_names(name)
    assert certs.refused('--server', name).startswith('zeo certs: ')
    assert not certs.directory.exists()


@pytest.mark.parametrize('name', ['', 'a b', '../x', '.x', 'a/b', 'x' * 65, 'ä', 'a\nb', 'a\tb'])
def test_wrong_names_of_clients_are_refused(certs, name):
    with pytest.raises(ConfigurationError):
        client_name(name)
    assert 'cannot be the name of a client' in certs.refused('--client', name)


@pytest.mark.parametrize('name', ['ca', 'crl', 'index'])
def test_the_files_of_the_authority_are_not_those_of_others(certs, name):
    assert 'the authority has files of this name' in certs.refused('--client', name)


def test_a_name_that_is_given_twice_is_refused(certs):
    assert 'given twice' in certs.refused('--server', 'x.org', '--client', 'x.org')


def test_long_and_wild_names_of_servers_work(certs):
    long = '.'.join(['x' * 60] * 3)
    certs.make('--server', long, '--server', '*.example.org')
    assert certs.facts(long).names == (long,)
    assert certs.facts('_wildcard.example.org').names == ('*.example.org',)


@pytest.mark.parametrize('days', ['0', '-1', 'x', '1.5', '9' * 30])
def test_wrong_days_are_refused(certs, days):
    assert 'is not a number of days' in certs.refused('--client', 'x', '--days', days)


def test_more_days_than_there_are_are_refused(certs):
    certs.make('--client', 'x')
    assert 'more than a certificate can last' in certs.refused('--client', 'y', '--days', '9999999')


def test_without_anything_there_the_command_says_how_to_begin(certs):
    assert '--server NAME makes it' in certs.refused()
    certs.directory.mkdir()
    assert 'give --server NAME' in certs.refused()


def test_a_directory_that_others_can_write_to_is_refused(made):
    made.directory.chmod(0o777)
    assert 'could replace keys' in made.refused('--client', 'app2')


def test_two_processes_do_not_make_certificates_at_the_same_time(made):
    fd = os.open(made.directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        assert 'another process' in made.refused('--client', 'app2')
    finally:
        os.close(fd)


@pytest.mark.parametrize('name', ['ca.key', 'ca.pem'])
def test_half_an_authority_is_not_replaced(made, name):
    os.unlink(made.path(name))
    assert f'there is no {name}' in made.refused('--client', 'app2')


@pytest.mark.parametrize('name', ['ca.key', 'ca.pem', 'index.txt', 'app1.pem'])
def test_damaged_files_are_named(made, name):
    (made.directory / name).write_text('nonsense\n')
    args = () if name == 'app1.pem' else ('--client', 'app2')
    errors = made.refused(*args) if args else made.run()[2]
    assert errors.startswith('zeo certs: ') and errors.count('\n') == 1


def test_the_key_of_another_authority_is_noticed(made, tmp_path, capsys):
    other = Certs(tmp_path / 'other', capsys)
    other.make('--client', 'x')
    (made.directory / 'ca.key').write_bytes(other.files()['ca.key'])
    assert 'is not that of its certificate' in made.refused('--client', 'app2')


def test_a_link_in_place_of_a_new_file_is_not_followed(made, tmp_path):
    os.symlink(tmp_path / 'elsewhere', made.path('.app2.key.new'))
    assert 'a symbolic link' in made.run('--client', 'app2')[2]
    assert not (tmp_path / 'elsewhere').exists()


def test_where_cryptography_is_missing_the_error_says_what_to_install(tmp_path):
    code = (
        'import sys; sys.modules["cryptography"] = None;'
        'from ZEO.commands.zeo import main; sys.exit(main(sys.argv[1:]))'
    )
    for args, status in [('--client x', 2), ('--help', 0)]:
        done = subprocess.run(
            [sys.executable, '-c', code, 'certs', str(tmp_path / 'c'), *args.split()],
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == status
        assert ('pip install cryptography' in done.stderr) is bool(status)
    assert not (tmp_path / 'c').exists()


def test_an_expired_authority_signs_nothing_until_it_is_renewed(made, monkeypatch):
    later(monkeypatch, directories.AUTHORITY_DAYS + 1)
    assert '--renew ca makes it valid again' in made.refused('--client', 'app2')
    made.make('--renew', 'ca', '--client', 'app2')
