"""The file of verifiers: only whole and safe ones are read; a change is whole or not done."""

import os
import re
import stat
import subprocess
import sys

import pytest

from ZEO.Exceptions import ConfigurationError
from ZEO.serving.access import secrets_file
from ZEO.serving.access.secrets import Secrets, set_secret
from ZEO.wire import scram


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'passwords')


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    monkeypatch.setattr('ZEO.serving.access.secrets.ITERATIONS', scram.LEAST_ITERATIONS)


def set_all(path, *names):
    with secrets_file.change(path, may_create=True) as kept:
        for name in names:
            set_secret(kept, name, f'secret of {name}')


def lines(path):
    with open(path, encoding='utf-8') as file:
        return file.read().splitlines()


def put(path, content):
    with open(path, 'wb') as file:
        file.write(content if isinstance(content, bytes) else '\n'.join(content).encode('utf-8'))


def test_what_was_set_is_read(path):
    set_all(path, 'app', 'Jürgen', 'a,b=c')
    kept = secrets_file.read(path)
    assert set(kept.verifiers) == {'app', 'Jürgen', 'a,b=c'}
    for name, found in kept.verifiers.items():
        assert found == scram.verifier(f'secret of {name}', scram.Challenge(found.salt, 50_000))


def test_the_file_is_for_its_owner_only_and_holds_no_secret(path):
    umask = os.umask(0)
    try:
        set_all(path, 'app')
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert 'secret' not in ''.join(lines(path))
    assert os.listdir(os.path.dirname(path)) == ['passwords']


def test_a_change_keeps_everything_else(path):
    set_all(path, 'one', 'two')
    os.chmod(path, 0o400)
    before = lines(path)
    set_all(path, 'three')
    assert set(before) < set(lines(path))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o400


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
def test_a_change_by_root_keeps_the_owner(path):
    set_all(path, 'one')
    os.chown(path, 54321, 54322)
    set_all(path, 'two')
    found = os.stat(path)
    assert (found.st_uid, found.st_gid) == (54321, 54322)


def test_a_change_that_fails_changes_nothing(path, monkeypatch):
    set_all(path, 'one')
    before = lines(path)
    with pytest.raises(KeyError), secrets_file.change(path, may_create=False) as kept:
        del kept.verifiers['one']
        raise KeyError

    def full(fd):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(secrets_file.os, 'fsync', full)
    with pytest.raises(ConfigurationError, match='No space left'):
        set_all(path, 'two')
    assert lines(path) == before
    assert os.listdir(os.path.dirname(path)) == ['passwords']


def test_what_a_killed_process_left_is_replaced(path):
    set_all(path, 'one')
    put(path + '.new', b'half a fi')
    set_all(path, 'two')
    assert set(secrets_file.read(path).verifiers) == {'one', 'two'}


def test_a_link_of_the_owner_is_followed(path, tmp_path):
    set_all(path, 'one')
    link = tmp_path / 'link'
    link.symlink_to('passwords')
    set_all(str(link), 'two')
    assert link.is_symlink()
    assert set(secrets_file.read(path).verifiers) == {'one', 'two'}


CHANGE = """
import sys
from ZEO.serving.access import secrets, secrets_file
secrets.ITERATIONS = 50_000
for number in range(10):
    with secrets_file.change(sys.argv[1], may_create=True) as kept:
        secrets.set_secret(kept, f'{sys.argv[2]}-{number}', 'a secret')
"""


def test_changes_of_several_processes_are_all_kept(path):
    running = [
        subprocess.Popen([sys.executable, '-c', CHANGE, path, f'process{number}'])
        for number in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(secrets_file.read(path).verifiers) == 30


class Clock:
    """A clock that runs only while somebody sleeps."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


def test_a_change_does_not_wait_for_another_for_ever(path):
    set_all(path, 'one')
    with secrets_file.change(path, may_create=True):
        with pytest.raises(ConfigurationError, match='another process'):
            with secrets_file.change(path, may_create=True, system=Clock()):
                raise AssertionError


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_file_that_others_may_read_is_refused(path, mode):
    set_all(path, 'one')
    os.chmod(path, mode)
    for use in (lambda: secrets_file.read(path), lambda: set_all(path, 'two')):
        with pytest.raises(ConfigurationError, match='chmod 600'):
            use()


def test_there_has_to_be_a_file(path):
    with pytest.raises(ConfigurationError, match='zeo passwd .* makes it'):
        secrets_file.read(path)
    with pytest.raises(ConfigurationError, match='makes it'):
        with secrets_file.change(path, may_create=False):
            raise AssertionError
    assert not os.path.exists(path)


@pytest.mark.parametrize('make', [os.mkdir, os.mkfifo, lambda path: os.symlink('/dev/zero', path)])
def test_it_has_to_be_a_file(path, make):
    make(path)
    with pytest.raises(ConfigurationError, match='regular file'):
        secrets_file.read(path)


def wrong_lines(good):
    """Yield damaged forms of a user's line."""
    name, iterations, salt, stored, server = good.split(':')
    for parts in [
        (name,),
        (name, iterations, salt, stored),
        (name, iterations, salt, stored, server, 'more'),
        ('', iterations, salt, stored, server),
        ('a b', iterations, salt, stored, server),
        ('a\tb', iterations, salt, stored, server),
        ('u\u0308', iterations, salt, stored, server),
        ('x' * 101, iterations, salt, stored, server),
        (name, '0', salt, stored, server),
        (name, '49999', salt, stored, server),
        (name, str(2**31), salt, stored, server),
        (name, '9' * 5000, salt, stored, server),
        (name, '-50000', salt, stored, server),
        (name, '\u0665\u0660\u0660\u0660\u0660', salt, stored, server),
        (name, iterations, '', stored, server),
        (name, iterations, 'AAAA', stored, server),
        (name, iterations, salt, stored[:-1], server),
        (name, iterations, salt, 'AAAA', server),
        (name, iterations, salt, stored, '*' * 44),
    ]:
        yield ':'.join(parts)
    yield ''
    yield '# a comment'


def test_a_damaged_line_is_named_and_not_quoted(path):
    set_all(path, 'one')
    head, good = lines(path)
    for line in wrong_lines(good):
        put(path, [head, good, line])
        if line == '':
            put(path, [head, good, '', ''])
        with pytest.raises(ConfigurationError, match='line 3') as caught:
            secrets_file.read(path)
        shown = str(caught.value)
        assert not any(part in shown for part in re.split('[: ]', good) if len(part) > 10)
    put(path, [head, good, good])
    with pytest.raises(ConfigurationError, match='line 3.*second one'):
        secrets_file.read(path)


def test_a_damaged_file_is_refused(path):
    set_all(path, 'one')
    head, good = lines(path)
    for content in [
        b'',
        b'\n',
        head[:-4].encode(),
        head.replace(' 1 ', ' 2 ').encode(),
        good.encode(),
        b'app:secret\n',
        b'\xff' + head.encode(),
        b'x' * (20 * 2**20 + 1),
    ]:
        put(path, content)
        with pytest.raises(ConfigurationError):
            secrets_file.read(path)


def test_a_reload_names_those_whose_secret_has_changed(path):
    set_all(path, 'stays', 'goes', 'changes')
    secrets = Secrets(path)
    with secrets_file.change(path, may_create=False) as kept:
        del kept.verifiers['goes']
        set_secret(kept, 'changes', 'another one')
        set_secret(kept, 'comes', 'new')
    assert secrets.reload() == {'goes', 'changes'}
    assert secrets.of('comes')[0] and not secrets.of('goes')[0]


def test_a_reload_of_a_broken_file_changes_nothing(path):
    set_all(path, 'app')
    secrets = Secrets(path)
    before = secrets.of('app')
    for content in (b'', b'nonsense'):
        put(path, content)
        with pytest.raises(ConfigurationError):
            secrets.reload()
        assert secrets.of('app') == before


# Names that no user has.


def test_what_is_answered_for_an_unknown_user_is_as_for_a_known_one(path):
    set_all(path, 'app', 'b')
    secrets = Secrets(path)
    known, real = secrets.of('app')
    unknown, false = secrets.of('nobody')
    assert (known, unknown) == (True, False)
    assert [type(part) for part in real] == [type(part) for part in false]
    assert [len(part) for part in real[1:]] == [len(part) for part in false[1:]]
    assert secrets.of('nobody') == (False, false) == (False, Secrets(path).of('nobody')[1])
    assert secrets.of('somebody')[1].salt != false.salt


def test_a_salt_shows_neither_that_a_user_came_nor_that_a_secret_was_set_again(path):
    set_all(path, 'app')
    before = Secrets(path).of('other')[1].salt
    set_all(path, 'other')
    set_all(path, 'other')
    assert Secrets(path).of('other') == (True, secrets_file.read(path).verifiers['other'])
    assert Secrets(path).of('other')[1].salt == before


def test_an_unknown_user_has_iterations_that_users_have(path):
    with secrets_file.change(path, may_create=True) as kept:
        set_secret(kept, 'one', 'secret')
        kept.verifiers['two'] = kept.verifiers['one']._replace(iterations=50_001)
    secrets = Secrets(path)
    found = [secrets.of(f'nobody{number}')[1].iterations for number in range(200)]
    assert set(found) == {50_000, 50_001}
    assert 50 < found.count(50_000) < 150


def test_the_same_is_computed_for_both(path, monkeypatch):
    set_all(path, 'app')
    secrets = Secrets(path)
    calls = []
    real = secrets_file.scram.hmac.digest
    monkeypatch.setattr(
        'ZEO.serving.access.secrets.hmac.digest', lambda *args: calls.append(1) or real(*args)
    )
    counts = []
    for name in ('app', 'nobody'):
        calls.clear()
        secrets.of(name)
        counts.append(len(calls))
    assert counts[0] == counts[1] > 0
