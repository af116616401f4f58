"""The file that names a server's process, and what else may be at its path."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from ZEO.commands.pid_file import PidFile
from ZEO.Exceptions import ConfigurationError, Unavailable


@contextmanager
def pid_file(path):
    """Keep a pid file inside."""
    file = PidFile(path)
    try:
        yield file
    finally:
        file.remove()


def live_process():
    return subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)


def test_a_pid_file_is_there_inside_and_gone_afterwards(tmp_path):
    path = tmp_path / 'pid'
    with pid_file(str(path)) as file:
        assert path.read_text() == f'{os.getpid()}\n'
        file.serving()
    assert not path.exists()


@pytest.mark.parametrize('content', ['', '0', '4194999\n', '\0' * 8])  # of a power failure
def test_a_stale_pid_file_is_taken_over(tmp_path, content):
    path = tmp_path / 'pid'
    path.write_text(content)
    with pid_file(str(path)):
        assert path.read_text() == f'{os.getpid()}\n'
    assert not path.exists()


@pytest.mark.parametrize('content', ['x', '-1', '9' * 30, '\xe9'])
def test_a_file_that_is_not_a_pid_file_is_left_as_it_is(tmp_path, content):
    path = tmp_path / 'pid'
    path.write_text(content, encoding='latin-1')
    with pytest.raises(ConfigurationError, match='does not hold a process id'), pid_file(str(path)):
        pass
    assert path.read_text(encoding='latin-1') == content


def test_a_start_that_fails_puts_back_what_a_live_process_has_written(tmp_path):
    path, other = tmp_path / 'pid', live_process()
    try:
        path.write_text(f'{other.pid}\n')
        with pid_file(str(path)):
            assert path.read_text() == f'{os.getpid()}\n'
        assert path.read_text() == f'{other.pid}\n'
        with pid_file(str(path)) as file:
            file.serving()  # the other one has nothing to do with it
        assert not path.exists()
    finally:
        other.communicate(b'\n')


def test_a_process_that_has_ended_meanwhile_is_not_put_back(tmp_path):
    path, other = tmp_path / 'pid', live_process()
    path.write_text(f'{other.pid}\n')
    with pid_file(str(path)):
        other.communicate(b'\n')
    assert not path.exists()


def test_a_pid_file_that_another_process_has_taken_over_is_left(tmp_path):
    path = tmp_path / 'pid'
    with pid_file(str(path)):
        path.write_text('1\n')
    assert path.read_text() == '1\n'


def test_a_pid_file_that_is_gone_is_a_warning(tmp_path, caplog):
    path = tmp_path / 'pid'
    with pid_file(str(path)):
        path.unlink()
    assert 'could not remove the pid file' in caplog.text


def test_a_pid_file_that_can_not_be_written_now(tmp_path):
    with (
        pytest.raises(Unavailable, match='cannot write the process id to .*: No such file'),
        pid_file(str(tmp_path / 'missing' / 'pid')),
    ):
        pass
