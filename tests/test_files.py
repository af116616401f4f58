"""Opening files whose names others may know."""

import os
import socket
import stat

import pytest

from ZEO import files

CREATE = os.O_RDWR | os.O_CREAT


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'name')


@pytest.fixture
def victim(tmp_path):
    """A file that nothing may change."""
    file = tmp_path / 'victim'
    file.write_text('precious')
    yield str(file)
    assert file.read_text() == 'precious'


def planted(path):
    """Make what is at path somebody else's, where this process may do that."""
    if os.geteuid():
        pytest.skip('only root can make links of another user')
    os.lchown(path, 54321, 54321)


@pytest.mark.parametrize('mask', [0, 0o22, 0o27])
def test_a_new_file_is_for_its_owner_only(path, mask):
    before = os.umask(mask)
    try:
        os.close(files.open_regular(path, CREATE))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_file_is_opened_as_it_is(victim):
    fd = files.open_regular(victim, os.O_RDWR)
    assert os.read(fd, 100) == b'precious'
    assert os.get_blocking(fd)
    os.close(fd)


def test_a_symbolic_link_is_refused(path, victim):
    os.symlink(victim, path)
    with pytest.raises(OSError, match='not a regular file but a symbolic link'):
        files.open_regular(path, CREATE | os.O_TRUNC)


def test_a_symbolic_link_that_comes_at_the_last_moment_is_refused(path, victim, monkeypatch):
    real = os.lstat

    def lstat(name):
        try:
            return real(name)
        finally:
            os.symlink(victim, path)

    monkeypatch.setattr(files.os, 'lstat', lstat)
    with pytest.raises(OSError):
        files.open_regular(path, CREATE | os.O_TRUNC)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ('make', 'what'),
    [
        (os.mkdir, 'a directory'),
        (os.mkfifo, 'a FIFO'),
        (lambda path: socket.socket(socket.AF_UNIX).bind(path), 'a socket'),
    ],
)
def test_what_is_not_a_file_is_refused_at_once(path, make, what):
    make(path)
    with pytest.raises(OSError, match=f'not a regular file but {what}'):
        files.open_regular(path, os.O_RDWR)


def test_a_device_is_not_even_opened(monkeypatch):
    monkeypatch.setattr(files.os, 'open', lambda *args: pytest.fail('it was opened'))
    with pytest.raises(OSError, match='a device'):
        files.open_regular('/dev/null', os.O_RDWR)


def test_links_of_this_user_are_followed_to_their_end(tmp_path):
    (tmp_path / 'far').mkdir()
    os.symlink('second', tmp_path / 'first')
    os.symlink(tmp_path / 'far' / 'file', tmp_path / 'second')
    assert files.followed(str(tmp_path / 'first')) == str(tmp_path / 'far' / 'file')
    assert files.followed(str(tmp_path / 'far' / 'file')) == str(tmp_path / 'far' / 'file')


def test_directories_may_be_links(tmp_path):
    (tmp_path / 'far').mkdir()
    os.symlink('far', tmp_path / 'var')
    path = str(tmp_path / 'var' / 'file')
    assert files.followed(path) == path
    os.close(files.open_regular(path, CREATE))
    assert (tmp_path / 'far' / 'file').exists()


def test_a_link_of_another_user_is_not_followed(path, victim):
    os.symlink(victim, path)
    planted(path)
    with pytest.raises(OSError, match='a symbolic link that user 54321 made'):
        files.followed(path)


def test_a_link_to_a_link_of_another_user_is_not_followed(tmp_path, path, victim):
    os.symlink(victim, tmp_path / 'second')
    os.symlink('second', path)
    planted(tmp_path / 'second')
    with pytest.raises(OSError, match='is not followed'):
        files.followed(path)


def test_links_in_a_circle_are_an_error(path):
    os.symlink(path, path)
    with pytest.raises(OSError, match='Too many levels'):
        files.followed(path)


def test_what_is_moved_aside_overwrites_nothing(tmp_path, path):
    for number, expected in enumerate(['name.bad', 'name.bad.1', 'name.bad.2']):
        (tmp_path / 'name').write_text(f'text {number}')
        assert files.move_aside(path) == str(tmp_path / expected)
        assert (tmp_path / expected).read_text() == f'text {number}'
    assert not os.path.exists(path)


def test_moving_aside_that_fails_leaves_no_name_behind(tmp_path, path):
    with pytest.raises(FileNotFoundError):
        files.move_aside(path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('before', ['', '12345\n', ' 99 \n', '4294967296'])
def test_a_process_id_takes_the_place_of_another(tmp_path, path, before):
    (tmp_path / 'name').write_text(before)
    files.write_pid(path, '12\n')
    assert files.read_pid(path) == (tmp_path / 'name').read_text() == '12\n'


@pytest.mark.parametrize(
    'content', ['FS21 a database', '123\n456\nabc', ' ' * 100 + 'text', '1' * 30]
)
def test_a_file_that_holds_something_else_than_a_process_id_is_left_alone(tmp_path, path, content):
    (tmp_path / 'name').write_text(content)
    with pytest.raises(OSError, match='does not hold a process id'):
        files.write_pid(path, '12\n')
    assert (tmp_path / 'name').read_text() == content


def test_removing_returns_whether_the_file_was_there(path):
    open(path, 'w').close()
    assert files.remove_if_there(path)
    assert not files.remove_if_there(path)
