"""After the machine went down, blobs that came last before are fetched again: they may be torn."""

import os
import threading
import uuid

import pytest
import zc.lockfile
from ZODB.utils import p64

from support.clock import Clock
from ZEO.cache.cache_file import UNKNOWN_BOOT
from ZEO.link import blob_boots
from ZEO.link.blob_boots import MARK, UNSURE
from ZEO.link.blob_cache import BlobCache
from ZEO.link.options import BlobOptions
from ZEO.net.system import REAL, System

#: When the last file came, in seconds since the epoch.
LAST = 1_700_000_000


@pytest.fixture
def boots(monkeypatch):
    """A function that starts the machine, as far as the cache can tell."""

    def start(boot=None):
        boot = uuid.uuid4().bytes if boot is None else boot
        monkeypatch.setattr(blob_boots, 'boot_id', lambda: boot)

    start()
    return start


class Waiting(System):
    """Tells when somebody sleeps."""

    def __init__(self):
        self.waits = threading.Event()

    def sleep(self, seconds):
        self.waits.set()
        super().sleep(seconds)


def opened(directory, system=REAL):
    return BlobCache(BlobOptions(str(directory), False, None, 10), system)


def filled(directory, ages):
    """Put a blob into the cache for each of these, in seconds before the last one."""
    cache = opened(directory)
    for number, age in enumerate(ages):
        path = os.path.join(cache.fshelper.temp_dir, 'new')
        with open(path, 'wb') as file:
            file.write(b'blob')
        os.utime(path, (LAST - age, LAST - age))
        cache.put(path, p64(number), p64(1))


def there(directory):
    """Return the numbers of the blobs in the cache."""
    found = [name for _, _, names in os.walk(directory) for name in names]
    return sorted(int(name[:16], 16) for name in found if name.endswith('.blob'))


def test_what_came_last_before_the_machine_went_down_goes(tmp_path, boots, caplog):
    filled(tmp_path, [0, UNSURE - 1, UNSURE + 1, 10 * UNSURE])
    boots()
    opened(tmp_path)
    assert there(tmp_path) == [2, 3]
    assert 'removed 2 blobs that came last before the machine went down' in caplog.text
    opened(tmp_path)  # once only
    assert there(tmp_path) == [2, 3]


def test_all_stay_while_the_machine_runs(tmp_path, boots, caplog):
    filled(tmp_path, [0, 1])
    opened(tmp_path)
    assert there(tmp_path) == [0, 1]
    assert not caplog.records


@pytest.mark.parametrize('mark', [b'', b'\xff' * 32, b'0' * 31])
def test_a_mark_that_is_torn_itself_is_that_of_another_run(tmp_path, boots, mark):
    filled(tmp_path, [0])
    (tmp_path / MARK).write_bytes(mark)
    opened(tmp_path)
    assert there(tmp_path) == []


def test_a_cache_of_an_earlier_release_stays_once(tmp_path, boots):
    filled(tmp_path, [0])
    (tmp_path / MARK).unlink()
    opened(tmp_path)
    assert there(tmp_path) == [0]
    boots()
    opened(tmp_path)
    assert there(tmp_path) == []


def test_a_system_that_does_not_tell_its_runs_keeps_all(tmp_path, boots):
    filled(tmp_path, [0])
    boots(UNKNOWN_BOOT)
    opened(tmp_path)
    assert there(tmp_path) == [0]


def test_of_several_processes_one_removes_and_the_others_wait(tmp_path, boots):
    """What one of them has fetched by then stays."""
    filled(tmp_path, [0])
    boots()
    lock = zc.lockfile.LockFile(str(tmp_path / f'{MARK}.lock'))
    system = Waiting()
    other = threading.Thread(target=opened, args=[tmp_path, system])
    other.start()
    try:
        assert system.waits.wait(20)
        (tmp_path / MARK).write_text(blob_boots.boot_id().hex())  # as the one with the lock does
    finally:
        lock.close()
    other.join(20)
    assert not other.is_alive()
    assert there(tmp_path) == [0]


def test_one_that_cannot_wait_goes_on_and_says_so(tmp_path, boots, caplog):
    filled(tmp_path, [0])
    boots()
    lock = zc.lockfile.LockFile(str(tmp_path / f'{MARK}.lock'))
    try:
        opened(tmp_path, Clock())
    finally:
        lock.close()
    assert 'it could not be seen to that no blob is damaged' in caplog.text


def test_a_mark_that_cannot_be_written_is_said(tmp_path, boots, caplog, monkeypatch):
    filled(tmp_path, [0])
    boots()

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    opened(tmp_path)
    assert there(tmp_path) == []
    assert 'No space left on device' in caplog.text
    assert not [name for name in os.listdir(tmp_path) if name.startswith(f'{MARK}.{os.getpid()}')]
