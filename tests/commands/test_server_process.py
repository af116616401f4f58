"""Signals, pid files, log lines and profiles of the commands that serve."""

import logging
import os
import pstats
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from ZEO.commands.pid_file import PidFile
from ZEO.commands.process_log import OneLine
from ZEO.commands.profiling import check_profile, profiled
from ZEO.commands.signals import Signals
from ZEO.Exceptions import ConfigurationError, Unavailable


class Server:
    """Takes note of what it is asked."""

    def __init__(self):
        self.stopped = 0
        self.posted = []

    def stop(self):
        self.stopped += 1

    def post(self, function):
        self.posted.append(function)


@pytest.fixture
def signals():
    return Signals()


def test_a_signal_between_opening_and_serving_is_not_lost(signals):
    server = Server()
    with signals.installed({signal.SIGTERM: signals.on_stop}):
        signal.raise_signal(signal.SIGTERM)
        signals.watch(server)
    assert server.stopped == 1 and signals.stopped_by == 'SIGTERM'


def test_a_signal_between_two_storages_keeps_the_second_from_being_opened(signals):
    opened = []
    with signals.installed({signal.SIGTERM: signals.on_stop}):
        with signals.interruptible():
            opened.append(1)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit) as caught, signals.interruptible():
            opened.append(2)
    assert opened == [1] and caught.value.code == 0


def test_handlers_are_taken_back(signals):
    before = signal.getsignal(signal.SIGUSR2)
    with signals.installed({signal.SIGUSR2: signals.on_reopen}):
        assert signal.getsignal(signal.SIGUSR2) == signals.on_reopen
    assert signal.getsignal(signal.SIGUSR2) == before


def test_an_ignored_signal_stays_ignored(signals):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.installed({signal.SIGHUP: signals.on_stop}):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_logs_of_a_running_server_are_reopened_by_its_loop(signals):
    server = Server()
    signals.watch(server)
    signals.on_reopen(signal.SIGHUP, None)
    assert len(server.posted) == 1 and not server.stopped


def test_a_thread_that_can_not_be_started_does_not_end_the_start(signals, monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, 'start', fail)
    signals.on_reopen(signal.SIGHUP, None)


# The pid file.


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


@pytest.mark.parametrize('content', ['', '0', '4194999\n'])
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


# The log.


def test_an_event_is_one_line_whatever_it_says():
    try:
        raise ValueError('a\nb')
    except ValueError:
        record = logging.makeLogRecord(
            {'msg': 'x\ny', 'levelname': 'ERROR', 'exc_info': sys.exc_info()}
        )
    line = OneLine('%(levelname)s %(message)s').format(record)
    assert line.startswith('ERROR x | y | Traceback')
    assert line.endswith('ValueError: a | b')


# The profile.


def profile(path):
    check_profile(str(path))
    with profiled(str(path)):
        sorted([2, 1], key=str)


def test_a_profile_can_be_read_and_is_overwritten_by_the_next(tmp_path):
    path = tmp_path / 'stats'
    for _ in range(2):
        profile(path)
        assert any(
            name[2] == 'sorted' or 'sorted' in name[2] for name in pstats.Stats(str(path)).stats
        )


@pytest.mark.parametrize('content', [b'FS30 a database', b'{"a": 1}', b'x'])
def test_a_file_that_is_not_a_profile_is_never_overwritten(tmp_path, content):
    path = tmp_path / 'Data.fs'
    path.write_bytes(content)
    words = f'cannot write the profile to {path}: the file exists and is not a profile'
    with pytest.raises(ConfigurationError, match=words):
        check_profile(str(path))
    with pytest.raises(ConfigurationError, match=words), profiled(str(path)):
        pass
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_profile_also_behind_a_link(tmp_path):
    (tmp_path / 'other').touch()
    (tmp_path / 'stats').symlink_to('other')
    profile(tmp_path / 'stats')
    assert pstats.Stats(str(tmp_path / 'other')).stats and (tmp_path / 'stats').is_symlink()


def test_a_profile_in_a_missing_directory_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match='No such file or directory'):
        profile(tmp_path / 'missing' / 'stats')


def test_without_a_path_there_is_no_profile():
    check_profile(None)
    with profiled(None):
        pass
