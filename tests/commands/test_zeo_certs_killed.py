"""zeo certs, killed at any of its file operations: the directory is whole, or says what to do."""

import os
import shutil

import pytest
from cryptography import x509

from support.certs import Certs
from support.dying import die_at
from ZEO.commands.authority import Authority
from ZEO.commands.certificates import Issuer, Pair

STEPS = [(os, name) for name in ('open', 'fchmod', 'fsync', 'replace')]
MAKE = ('--server', 'localhost', '--client', 'app1')


@pytest.fixture
def certs(tmp_path, capsys):
    return Certs(tmp_path / 'certs', capsys)


def check_pairs(certs):
    """Each certificate has its key."""
    for name in {path.stem for path in certs.directory.glob('*.pem')} - {'crl'}:
        files = [(certs.directory / f'{name}.{end}').read_bytes() for end in ('pem', 'key')]
        Issuer(Pair(*files))


def is_in_the_list(certs, name):
    """Whether a server that uses the list refuses a client."""
    found = x509.load_pem_x509_crl((certs.directory / 'crl.pem').read_bytes())
    serial = certs.facts(name).serial
    return found.get_revoked_certificate_by_serial_number(serial) is not None


def check_list(certs):
    """What is listed is as it is said to be, and of what was killed nothing is left."""
    status, printed, errors = certs.run()
    if status == 2:
        assert 'give --server NAME' in errors or '--server NAME makes it' in errors
        return
    check_pairs(certs)
    assert not [path for path in certs.directory.iterdir() if path.name.endswith('.new')]
    lines = printed.splitlines()
    if any('revoked' in line for line in lines) and not is_in_the_list(certs, 'app1'):
        assert status == 1 and 'not in crl.pem' in printed


def deaths(certs, *args):
    """Kill a command at each of its steps, beginning with the same directory each time; yield
    after each.
    """
    before = certs.directory.with_name('before')
    if certs.directory.exists():
        shutil.copytree(certs.directory, before)
    number = 0
    while die_at(STEPS, number, ['certs', certs.path('.'), *args]):
        yield number
        shutil.rmtree(certs.directory, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, certs.directory)
        number += 1
    assert number > 10


def again(certs, *args):
    """Give the same command again, with what it asks for."""
    status, _, errors = certs.run(*args)
    for _ in range(2):
        if status and 'exists: --renew' in errors:
            args = (*args, '--renew', errors.split('--renew ')[1].split()[0])
            status, _, errors = certs.run(*args)
    assert (status, errors) == (0, '')


def test_killed_while_it_makes_an_authority_it_goes_on(certs):
    for _ in deaths(certs, *MAKE):
        check_list(certs)
        again(certs, *MAKE)
        check_list(certs)
        assert certs.run()[0] == 0


@pytest.mark.parametrize(
    'args',
    [
        ('--client', 'app2'),
        ('--renew', 'app1', '--renew', 'localhost'),
        ('--renew', 'ca'),
        ('--revoke', 'app1', '--renew', 'app1'),
    ],
)
def test_killed_later_it_leaves_pairs_and_goes_on(certs, args):
    certs.make(*MAKE)
    for _ in deaths(certs, *args):
        check_list(certs)
        again(certs, *args)
        check_list(certs)
        assert certs.run()[0] == 0


def test_a_certificate_that_is_not_in_the_list_is_not_called_revoked_without_a_word(certs):
    certs.make(*MAKE)
    seen = 0
    for _ in deaths(certs, '--revoke', 'app1'):
        seen += 'not in crl.pem: --revoke app1 writes it' in certs.run()[1]
        again(certs, '--revoke', 'app1')
        assert is_in_the_list(certs, 'app1') and certs.run()[0] == 0
    assert seen


def test_what_is_made_next_writes_the_list_that_a_killed_command_did_not(certs, monkeypatch):
    certs.make(*MAKE)
    with monkeypatch.context() as patched:
        patched.setattr(Authority, '_write_revocations', lambda self: None)
        certs.make('--revoke', 'app1')
    assert not is_in_the_list(certs, 'app1')
    certs.make('--client', 'app2')
    assert is_in_the_list(certs, 'app1')


def test_without_the_certificate_it_says_how_the_key_gets_a_new_one(certs):
    certs.make(*MAKE)
    os.unlink(certs.path('app1.pem'))
    assert 'give --server or --client app1 as well' in certs.run('--renew', 'app1')[2]
    certs.make('--client', 'app1', '--renew', 'app1')
