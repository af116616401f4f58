"""zeo certs: an authority, and certificates that every check accepts."""

import datetime
import os
import re
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.x509 import verification

from support.certs import Certs, later, said
from ZEO.commands.certificates import facts
from ZEO.net.tls import client_context, server_context


@pytest.fixture
def certs(tmp_path, capsys):
    return Certs(tmp_path / 'certs', capsys)


@pytest.fixture
def made(certs):
    """Have a server's certificate and a client's."""
    certs.make('--server', 'localhost,127.0.0.1,::1', '--client', 'app1')
    return certs


@pytest.mark.parametrize('hostname', ['localhost', '127.0.0.1', '::1'])
def test_server_and_client_accept_each_other_by_every_name(made, hostname):
    assert said(made.contexts(), hostname) is None


def test_a_server_is_refused_under_another_name(made):
    assert said(made.contexts(), 'db.example.org') is not None


def test_a_client_cannot_pass_for_the_server_nor_the_server_for_a_client(made):
    ca = made.path('ca.pem')
    false_server = server_context(made.path('app1.pem'), made.path('app1.key'))
    assert said((false_server, client_context(authenticate=ca))) is not None
    false_client = client_context(made.path('localhost.pem'), made.path('localhost.key'), None, ca)
    assert said((made.contexts()[0], false_client)) is not None


@pytest.mark.parametrize(('name', 'purpose'), [('localhost', 'sslserver'), ('app1', 'sslclient')])
def test_openssl_accepts_them_in_its_strictest_mode(made, name, purpose):
    lists = ['-CAfile', made.path('ca.pem'), '-CRLfile', made.path('crl.pem'), '-crl_check_all']
    done = subprocess.run(
        ['openssl', 'verify', '-x509_strict', '-policy_check', *lists, '-purpose', purpose]
        + [made.path(f'{name}.pem')],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, '')


def test_cryptography_accepts_the_server_by_the_rules_of_the_web(made):
    ca, leaf = (
        x509.load_pem_x509_certificate((made.directory / name).read_bytes())
        for name in ('ca.pem', 'localhost.pem')
    )
    builder = verification.PolicyBuilder().store(verification.Store([ca]))
    assert builder.build_server_verifier(x509.DNSName('localhost')).verify(leaf, []) == [leaf, ca]


def test_keys_can_be_read_by_their_owner_only(certs):
    before = os.umask(0)
    try:
        certs.make('--server', 'localhost', '--client', 'app1')
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in certs.directory.iterdir()}
    keys = {name: mode for name, mode in modes.items() if name.endswith('.key')}
    assert set(keys) == {'ca.key', 'localhost.key', 'app1.key'} and set(keys.values()) == {0o600}
    assert modes['ca.pem'] == modes['crl.pem'] == modes['app1.pem'] == 0o644
    assert stat.S_IMODE(certs.directory.stat().st_mode) == 0o700


def test_a_client_that_is_added_later_is_signed_by_the_same_authority(made):
    before = made.files()
    made.make('--client', 'app2')
    after = made.files()
    assert before['index.txt'] != after.pop('index.txt') and before.pop('index.txt')
    assert before.items() < after.items()
    assert said(made.contexts('app2')) is None


@pytest.mark.parametrize('switch', ['--server', '--client'])
def test_what_is_there_is_not_replaced_unless_that_is_asked_for(made, switch):
    for name in 'localhost', 'app1':
        assert f'--renew {name} makes a new one' in made.refused(switch, name, '--client', 'x')


def test_a_key_alone_is_not_replaced_either(made):
    os.unlink(made.path('app1.pem'))
    assert 'app1.pem or .key exists' in made.refused('--client', 'app1')


def test_renewing_keeps_the_names_and_changes_the_key(made):
    before, facts_before = made.files(), made.facts('localhost')
    made.make('--renew', 'localhost', '--renew', 'app1', '--days', '9')
    after, now = made.files(), made.facts('localhost')
    assert now.names == facts_before.names == ('localhost', '127.0.0.1', '::1')
    assert now.until < facts_before.until
    assert all(before[name] != after[name] for name in ('localhost.key', 'app1.key'))
    assert before['ca.pem'] == after['ca.pem']
    assert said(made.contexts()) is None


def test_renewing_with_other_names_changes_them(made):
    made.make('--server', 'localhost,db.example.org', '--renew', 'localhost')
    assert made.facts('localhost').names == ('localhost', 'db.example.org')


def test_what_an_authority_has_signed_stays_valid_when_it_is_renewed(made, monkeypatch):
    before = made.files()
    later(monkeypatch, 0.02)
    made.make('--renew', 'ca')
    after = made.files()
    assert before['ca.pem'] != after['ca.pem'] and before['ca.key'] == after['ca.key']
    assert made.facts('ca').until - facts(before['ca.pem']).until > datetime.timedelta(0.01)
    server, client = made.contexts()
    assert said((server, client)) is None
    (made.directory / 'ca.pem').write_bytes(before['ca.pem'])  # as clients still have it
    assert said((server, made.contexts()[1])) is None


def test_a_revoked_client_is_refused_and_the_others_are_not(made):
    made.make('--client', 'app2')
    assert said(made.contexts()) is None
    printed = made.make('--revoke', 'app1')
    assert 'Copy crl.pem to the servers, and send them SIGHUP' in printed
    assert 'the certificate of the client has been revoked' in said(made.contexts())
    assert said(made.contexts('app2')) is None


def test_revoking_reaches_the_certificates_that_were_renewed(made):
    old = made.files()
    made.make('--renew', 'app1')
    assert 'certificates revoked: 2' in made.make('--revoke', 'app1')
    for name in 'app1.pem', 'app1.key':
        (made.directory / name).write_bytes(old[name])
    assert 'revoked' in said(made.contexts())


def test_a_stolen_key_is_replaced_in_one_call(made):
    old = made.files()
    made.make('--revoke', 'app1', '--renew', 'app1')
    assert said(made.contexts()) is None
    for name in 'app1.pem', 'app1.key':
        (made.directory / name).write_bytes(old[name])
    assert 'revoked' in said(made.contexts())


def test_the_name_of_a_revoked_client_can_be_given_again(made):
    made.make('--revoke', 'app1')
    made.make('--client', 'app1')
    assert said(made.contexts()) is None


def test_revoking_again_changes_nothing(made):
    made.make('--revoke', 'app1')
    assert 'certificates revoked: 0' in made.make('--revoke', 'app1')


def test_only_what_was_signed_can_be_revoked(made):
    assert "no certificate for 'app2' to revoke" in made.refused('--revoke', 'app2')


def test_the_register_is_one_that_openssl_goes_on_with(made, tmp_path):
    made.make('--revoke', 'app1')
    (made.directory / 'ca.conf').write_text(
        f'[ca]\ndefault_ca=a\n[a]\ndatabase={made.path("index.txt")}\ndefault_md=sha256\n'
    )
    keys = ['-config', made.path('ca.conf'), '-cert', made.path('ca.pem')]
    keys += ['-keyfile', made.path('ca.key')]
    done = subprocess.run(
        ['openssl', 'ca', *keys, '-gencrl', '-crldays', '9', '-out', str(tmp_path / 'crl.pem')],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    found = x509.load_pem_x509_crl((tmp_path / 'crl.pem').read_bytes())
    assert [one.serial_number for one in found] == [made.facts('app1').serial]


def test_the_list_shows_what_there_is_and_until_when(made):
    made.make('--client', 'app2')
    made.make('--revoke', 'app1')
    status, printed, _ = made.run()
    lines = [line.split() for line in printed.splitlines()]
    assert status == 0
    assert [line[0] for line in lines] == ['authority', 'server', 'client', 'client']
    assert [line[-1] == 'revoked' for line in lines] == [False, False, True, False]
    assert 'localhost, 127.0.0.1, ::1' in printed


@pytest.mark.parametrize(
    ('days', 'status', 'word'), [(0, 0, ''), (8, 1, 'expires soon'), (11, 1, 'expired')]
)
def test_the_status_of_the_list_warns_in_time(certs, days, status, word, monkeypatch):
    certs.make('--server', 'localhost', '--days', '38' if days < 9 else '10')
    later(monkeypatch, days + (1 if word == 'expires soon' else 0))
    found, printed, _ = certs.run()
    assert found == status and (word in printed.splitlines()[-1])


def test_no_certificate_outlives_its_authority(certs):
    certs.make('--server', 'localhost', '--client', 'app1', '--days', '99999')
    assert certs.facts('app1').until == certs.facts('ca').until
    assert said(certs.contexts()) is None


def test_two_authorities_have_different_names(certs, tmp_path, capsys):
    certs.make('--client', 'app1')
    other = Certs(tmp_path / 'other', capsys)
    other.make('--client', 'app1')
    assert certs.facts('ca').name != other.facts('ca').name


def test_the_sections_name_the_files_and_the_clients(made):
    printed = made.make('--client', 'app2')
    assert re.findall(r'rule (.*)', printed) == [
        'certificate CN=app1 write',
        'certificate CN=app2 write',
    ]
    assert f'certificate {made.path("app2.pem")}' in printed and '</zeo>' not in printed
    everything = made.make('--configuration')
    assert everything.count('<clientstorage>') == 2 and 'require-access true' in everything
    made.make('--revoke', 'app1')
    assert 'app1' not in made.make('--configuration')
