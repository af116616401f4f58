"""Rules of access: how they are written, whom they are about, and whether they mean something."""

import grp
import logging
import os
import pwd
import ssl
from types import SimpleNamespace

import pytest

from ZEO.Exceptions import ConfigurationError
from ZEO.net import unix_peers
from ZEO.net.proofs import Proof
from ZEO.net.tls_errors import TlsError
from ZEO.net.unix_peers import UnixPeer
from ZEO.serving.access import checks
from ZEO.serving.access.access import Access
from ZEO.serving.access.checks import Situation, check_restricted, check_rules
from ZEO.serving.access.identity import Identity, identity_of
from ZEO.serving.access.rules import Right, rule

STRANGER = Identity()
OPS = Identity(user='ops')
APP = Identity(certificate=('CN=app1,O=Site', 'CN=app1', 'DNS:app1.example.org'))
ZOPE = Identity(uid=1000, groups=frozenset([1000, 50]))
ROOT = Identity(uid=0, groups=frozenset([0]))


@pytest.fixture
def machine(monkeypatch):
    """The users and groups of a machine."""
    users = {'root': 0, 'zope': 1000, 'nobody': 65534}
    groups = {'root': (0, []), 'staff': (50, ['zope', 'root', 'gone'])}

    def user(name):
        return SimpleNamespace(pw_uid=users[name])

    def group(name):
        number, members = groups[name]
        return SimpleNamespace(gr_gid=number, gr_mem=members)

    monkeypatch.setattr(pwd, 'getpwnam', user)
    monkeypatch.setattr(grp, 'getgrnam', group)
    monkeypatch.setattr(unix_peers, 'KNOWN', True)


# One rule.


@pytest.mark.parametrize(
    ['text', 'about', 'not_about'],
    [
        ('anyone read', [STRANGER, OPS, APP, ZOPE, ROOT], []),
        ('user ops read', [OPS], [STRANGER, APP, ZOPE, ROOT, Identity(user='Ops')]),
        ('user * read', [OPS, Identity(user='')], [STRANGER, APP, ZOPE, ROOT]),
        ('certificate CN=app1 read', [APP], [STRANGER, OPS, Identity(user='CN=app1')]),
        ('certificate O=Site,CN=app1 read', [APP], [Identity(certificate=('CN=app1',))]),
        ('certificate dns:APP1.example.org read', [APP], [STRANGER]),
        ('certificate O=Site read', [], [APP]),
        ('certificate * read', [APP], [STRANGER, OPS, ZOPE]),
        ('unix-user zope read', [ZOPE], [STRANGER, ROOT, Identity(user='zope')]),
        ('unix-user 1000 read', [ZOPE], [STRANGER, ROOT, Identity(user='1000')]),
        ('unix-user root read', [ROOT], [STRANGER, ZOPE]),
        ('unix-user 0 read', [ROOT], [STRANGER, ZOPE]),
        ('unix-group staff read', [ZOPE, ROOT], [STRANGER, Identity(uid=7)]),
        ('unix-group 50 read', [ZOPE], [STRANGER, ROOT]),
        ('unix-group root read', [ROOT], [STRANGER, ZOPE]),
    ],
)
def test_a_rule_is_about_those_that_it_names(machine, text, about, not_about):
    found = rule(text)
    assert found.right is Right.READ
    assert [one for one in about if not found.matches(one)] == []
    assert [one for one in not_about if found.matches(one)] == []


@pytest.mark.parametrize('name', ['CN=the ops team', '"CN=the ops team"'])
def test_the_names_of_certificates_may_have_blanks(name):
    assert rule(f'certificate {name}  read').name == 'CN=the ops team'


def test_the_name_of_a_user_is_compared_in_the_form_in_which_it_is_proved():
    """A rule that keeps somebody out must not miss them for another way to write the name."""
    for written in 'fi', '\ufb01':
        assert rule(f'user {written} nothing').matches(Identity(user='fi'))
    assert rule('user e\u0301 nothing').matches(Identity(user='\u00e9'))


@pytest.mark.parametrize('name', ['a:b', 'a b', 'x' * 101])
def test_a_name_that_no_user_can_have_is_an_error(name):
    with pytest.raises(ValueError, match='cannot be the name of a user'):
        rule(f'user {name} read')


@pytest.mark.parametrize('kind', ['user *', 'certificate *', 'unix-user 0', 'unix-group 0'])
def test_a_client_that_has_proved_nothing_is_only_anyone(kind):
    assert not rule(f'{kind} admin').matches(STRANGER)
    assert Access.of([f'{kind} admin']).right(STRANGER, '1') is Right.NOTHING


@pytest.mark.parametrize(
    ['text', 'name'],
    [
        ('user ops  read', 'ops'),
        ('  user\tops\tread ', 'ops'),
        ('USER Ops READ', 'Ops'),
        ('user "ops read', '"ops'),
        ('user read read', 'read'),
        ('user anyone read', 'anyone'),
        ('user Jürgen read', 'Jürgen'),
        ('user a#b read', 'a#b'),
    ],
)
def test_names_are_taken_as_they_are_written(text, name):
    found = rule(text)
    assert (found.kind, found.name, found.right) == ('user', name, Right.READ)


@pytest.mark.parametrize(
    ['text', 'said'],
    [
        ('', 'is not a rule: write WHO RIGHT'),
        ('anyone', 'is not a rule'),
        ('read', 'is not a rule'),
        ('user ops', "'ops' is not a right"),
        ('user ops all', "'all' is not a right"),
        ('user read', 'a rule about user needs a name'),
        ('user "" read', ''),
        ('anyone else read', "anyone takes no name, but got 'else'"),
        ('group staff read', "a rule cannot be about 'group'"),
        ('certificate app1 read', 'is not the name in a certificate: write CN=NAME'),
        ('certificate read', 'a rule about certificate needs a name'),
        ('unix-user read', 'a rule about unix-user needs a name'),
        ('unix-user nosuch read', "there is no user 'nosuch' on this machine"),
        ('unix-group nosuch read', "there is no group 'nosuch' on this machine"),
        ('unix-user -1 read', "there is no user '-1'"),
        ('unix-user ² read', "there is no user '²'"),
        ('unix-user 4294967295 read', 'it is too large'),
        ('unix-group 99999999999999999999 read', 'it is too large'),
        ('user ops\nadmin', 'is not a rule'),
        ('user a\x1b[2J read', 'is not a rule'),
        ('user a\u202eb read', 'is not a rule'),
    ],
)
def test_a_line_that_is_not_a_rule_is_an_error_that_says_what_is(machine, text, said):
    if text == 'user "" read':  # two quotes: a name like any other
        assert rule(text).name == '""'
        return
    with pytest.raises(ValueError) as caught:
        rule(text)
    assert said in str(caught.value) and str(caught.value).isprintable()


def test_a_system_that_does_not_know_its_unix_peers_takes_no_rules_about_them(monkeypatch):
    monkeypatch.setattr(unix_peers, 'KNOWN', False)
    for kind in 'unix-user', 'unix-group':
        with pytest.raises(ValueError, match='this system does not say which user'):
            rule(f'{kind} 0 nothing')


def test_a_directory_of_users_that_fails_is_an_error(machine, monkeypatch):
    def fails(name):
        raise OSError('no answer')

    monkeypatch.setattr(pwd, 'getpwnam', fails)
    monkeypatch.setattr(grp, 'getgrnam', fails)
    for kind in 'user', 'group':
        with pytest.raises(ValueError, match=f'there is no {kind}'):
            rule(f'unix-{kind} zope read')


def test_a_rule_is_shown_as_it_is_written(machine):
    for text in ('user ops admin', 'certificate CN=app1,O=Site write', 'anyone nothing'):
        assert str(rule(text)) == text


# All rules.


def test_the_first_rule_about_client_and_storage_counts(machine):
    access = Access.of(
        {
            'main': ['user ops admin', 'unix-user zope nothing'],
            '': ['unix-group staff write', 'user ops read'],
            'archive': ['anyone read'],
        }
    )
    assert [access.right(one, 'main') for one in (OPS, ZOPE, ROOT, APP)] == [
        Right.ADMIN,
        Right.NOTHING,
        Right.WRITE,
        Right.NOTHING,
    ]
    assert [access.right(one, 'archive') for one in (OPS, ZOPE, STRANGER)] == [
        Right.READ,
        Right.WRITE,
        Right.READ,
    ]
    assert access.right(ZOPE, 'nosuch') is Right.WRITE  # as for any other that has no rules


def test_without_a_rule_there_is_no_right():
    assert Access.of([]).right(ROOT, '1') is Access.of({'1': []}).right(OPS, '1') is Right.NOTHING


def test_rights_include_each_other_in_their_order():
    assert Right.NOTHING < Right.READ < Right.WRITE < Right.ADMIN and not Right.NOTHING


# Who a client is.


@pytest.mark.parametrize('error', [OSError(34, 'Result too large'), TlsError('cannot be read')])
def test_who_cannot_be_found_out_may_do_nothing(error):
    """Also where a rule for anyone would let it in: another rule may have kept it out."""

    class Connection:
        @property
        def proof(self):
            raise error

    found = identity_of(Connection(), 'ops')
    assert found.user is None and 'cannot find out who it is' in str(found)
    assert Access.of(['anyone admin']).right(found, '1') is Right.NOTHING


def test_an_identity_is_all_that_is_proved():
    proof = Proof(('CN=app1,O=Site', 'CN=app1'), UnixPeer(1000, (1000, 50)))
    found = identity_of(SimpleNamespace(proof=proof), 'ops')
    assert str(found) == 'user ops, certificate CN=app1,O=Site, Unix user 1000'
    assert str(identity_of(SimpleNamespace(proof=Proof()), None)) == (
        'a client that has not proved who it is'
    )
    assert '\x1b' not in str(Identity(user='\x1b[2J'))


# Whether the rules mean something.


def context(mode):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.verify_mode = mode
    return made


STORAGES = {'main': None, 'archive': None}
PUBLIC = [('127.0.0.1', 8100), ('', 8100)]
LOCAL = [('127.0.0.1', 8100), ('::1', 8100), 'localhost', '/run/zeo.sock']


@pytest.mark.parametrize(
    ['rules', 'said'],
    [
        ({'mian': ['anyone read']}, "there is no storage 'mian' to have rules for"),
        (['certificate CN=a read'], 'configure <ssl> with authenticate'),
        (['user ops read'], 'configure password-file'),
        (['anyone read', 'unix-user 0 write'], 'unix-user 0 write never counts, since anyone read'),
        ({'': ['anyone read'], 'main': ['unix-user 0 write']}, 'its rules never count'),
    ],
)
def test_rules_that_cannot_count_are_an_error(rules, said):
    with pytest.raises(ConfigurationError) as caught:
        check_rules(Access.of(rules), Situation(STORAGES, LOCAL))
    assert said in str(caught.value)


def test_rules_that_can_count_are_none():
    check_rules(None, Situation(STORAGES))
    rules = {'main': ['certificate * read', 'user * write', 'anyone nothing'], '': ['anyone read']}
    for mode in ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED:
        check_rules(Access.of(rules), Situation(STORAGES, PUBLIC, context(mode), True))


RESTRICTED = {'main': ['unix-user 0 admin']}


@pytest.mark.parametrize(
    ['rules', 'addresses', 'mode', 'passwords', 'said'],
    [
        (None, LOCAL, None, False, 'nothing restricts access: write an <access> section'),
        (None, LOCAL, ssl.CERT_REQUIRED, False, 'nothing restricts access'),
        (RESTRICTED, PUBLIC, None, False, None),
        (['anyone read'], LOCAL, None, False, None),
        (['anyone read'], PUBLIC, None, False, 'everyone who can reach :8100 over the network'),
        (
            {'archive': ['anyone read']},
            PUBLIC,
            ssl.CERT_NONE,
            False,
            "may use the storage 'archive'",
        ),
        (['anyone read'], PUBLIC, ssl.CERT_OPTIONAL, False, 'everyone who can reach'),
        (['anyone read'], PUBLIC, ssl.CERT_REQUIRED, False, None),
        (['anyone read'], PUBLIC, None, True, None),
    ],
)
def test_a_server_may_have_to_restrict_access(rules, addresses, mode, passwords, said):
    where = Situation(STORAGES, addresses, mode and context(mode), passwords)
    if mode is ssl.CERT_NONE:
        where = Situation(STORAGES, addresses, context(mode), passwords)
    access = None if rules is None else Access.of(rules)
    if said is None:
        check_restricted(access, where)
    else:
        with pytest.raises(ConfigurationError) as caught:
            check_restricted(access, where)
        assert said in str(caught.value) and 'require-access' in str(caught.value)


@pytest.mark.parametrize(
    ['rules', 'addresses', 'encrypts', 'passwords', 'said'],
    [
        (None, LOCAL, False, False, None),
        (None, PUBLIC, False, False, 'may read and change all data'),
        (None, PUBLIC, True, False, None),
        (['anyone read'], PUBLIC, False, False, 'may read all data'),
        ({'main': ['anyone write']}, PUBLIC, False, True, 'may read and change all data'),
        (RESTRICTED, PUBLIC, False, False, None),
        (['user * write'], PUBLIC, False, True, 'can read what clients with passwords send'),
        (['user * write'], PUBLIC, True, True, None),
        (['user * write'], LOCAL, False, True, None),
    ],
)
def test_a_warning_says_what_others_on_the_network_can_do(
    caplog, rules, addresses, encrypts, passwords, said
):
    caplog.set_level(logging.WARNING)
    tls = context(ssl.CERT_NONE) if encrypts else None
    access = None if rules is None else Access.of(rules)
    checks.warn(access, Situation(STORAGES, addresses, tls, passwords))
    assert len(caplog.messages) == (said is not None)
    assert all(said in line and ':8100' in line for line in caplog.messages)


def test_the_numbers_of_this_process_are_those_of_its_rules():
    name = pwd.getpwuid(os.getuid()).pw_name
    assert rule(f'unix-user {name} read').user == os.getuid()
