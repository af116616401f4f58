"""A simulated disk: what a kill, a crash and faults leave."""

import errno
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.simulation.disk import Disk, PowerCut
from support.simulation.disk_inodes import SECTOR
from support.simulation.disk_modules import Gone
from support.simulation.disk_os import modules_on

CRASHES = 60  # seeds; each outcome that a test waits for comes up in far fewer


def write(disk, path, data, sync=False):
    """Write a whole file."""
    python = modules_on(disk)
    with python.open(path, 'wb') as file:
        file.write(data)
        file.flush()
        if sync:
            python.os.fsync(file.fileno())


def content(disk, path):
    """Return what a file holds; None: there is none."""
    try:
        return bytes(disk.find(path).data)
    except FileNotFoundError:
        return None


def outcomes(prepare, path='/data/a', strict=False):
    """Return what different crashes leave of a file."""
    found = set()
    for seed in range(CRASHES):
        disk = Disk(strict=strict)
        prepare(disk)
        disk.crash(random.Random(seed))
        found.add(content(disk, path))
    return found


# Kills and crashes.


def test_a_kill_keeps_all_that_was_written_but_not_what_python_had_in_its_buffer():
    disk = Disk()
    file = modules_on(disk).open('/data/a', 'wb')
    file.write(b'written')
    file.flush()
    file.write(b', buffered')
    disk.kill()
    with pytest.raises(PowerCut):
        file.close()
    assert content(disk, '/data/a') == b'written'


def test_a_crash_keeps_what_was_synced():
    assert outcomes(lambda disk: write(disk, '/data/a', b'x' * 2000, sync=True)) == {b'x' * 2000}


def test_a_crash_loses_a_new_file_that_was_not_synced_or_any_of_its_sectors():
    data = b''.join(bytes([number]) * SECTOR for number in (1, 2, 3))
    found = outcomes(lambda disk: write(disk, '/data/a', data))
    assert {None, b'', data} <= found
    zeros = {tuple(part[i] for i in range(0, len(part), SECTOR)) for part in found if part}
    assert any(0 in part and part[-1] for part in zeros)  # something lies behind what was lost
    assert all(len(part) % SECTOR == 0 for part in found if part)


def test_a_sector_holds_what_it_held_at_one_of_the_moments():
    def prepare(disk):
        write(disk, '/data/a', b'0' * 1024, sync=True)
        python = modules_on(disk)
        fd = python.os.open('/data/a', os.O_RDWR)
        for letter in b'12':
            python.os.pwrite(fd, bytes([letter]) * 1024, 0)

    found = outcomes(prepare)
    assert found <= {a * 512 + b * 512 for a in (b'0', b'1', b'2') for b in (b'0', b'1', b'2')}
    assert len(found) > 4


def test_a_lost_truncation_brings_the_old_end_back():
    def prepare(disk):
        write(disk, '/data/a', b'x' * 10_000, sync=True)
        python = modules_on(disk)
        fd = python.os.open('/data/a', os.O_RDWR)
        python.os.ftruncate(fd, 100)
        python.os.pwrite(fd, b'y' * 9000, 100)

    found = outcomes(prepare)
    assert b'x' * 10_000 in found
    for data in found:
        if len(data) == 10_000:  # only what lies in the block that the file kept can be new
            assert data[4096:] == b'x' * 5904
        else:  # nothing old lies behind the cut
            assert set(data[100:]) <= set(b'y\0')


def test_renames_are_kept_in_order():
    def prepare(disk):
        for name in 'ab':
            write(disk, f'/data/{name}', name.encode(), sync=True)
        modules_on(disk).os.rename('/data/a', '/data/old')
        modules_on(disk).os.rename('/data/b', '/data/a')

    assert outcomes(prepare) == {b'a', None, b'b'}
    assert outcomes(prepare, '/data/old') == {None, b'a'}


def test_a_sync_of_a_file_keeps_the_names_that_were_changed_before_it_was_made():
    def prepare(disk):
        write(disk, '/data/a', b'a', sync=True)
        modules_on(disk).os.rename('/data/a', '/data/b')
        write(disk, '/data/c', b'c', sync=True)

    assert outcomes(prepare) == {None}
    assert outcomes(prepare, '/data/b') == {b'a'}


def test_a_strict_disk_keeps_a_name_for_certain_when_its_directory_was_synced():
    def prepare(disk):
        write(disk, '/data/a', b'a', sync=True)

    def sync_too(disk):
        prepare(disk)
        system = modules_on(disk).os
        system.fsync(system.open('/data', os.O_RDONLY))

    assert outcomes(prepare, strict=True) == {None, b'a'}
    assert outcomes(sync_too, strict=True) == {b'a'}


def test_the_same_seed_leaves_the_same():
    def left(seed):
        disk = Disk()
        write(disk, '/data/a', bytes(range(256)) * 40)
        disk.crash(random.Random(seed))
        return content(disk, '/data/a')

    assert [left(seed) for seed in range(30)] == [left(seed) for seed in range(30)]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3000), st.integers(0, 1500)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_a_crash_right_after_a_sync_changes_nothing(steps, rng):
    disk = Disk()
    system = modules_on(disk).os
    fd = system.open('/data/a', os.O_RDWR | os.O_CREAT)
    for number, (cuts, offset, length) in enumerate(steps):
        if cuts:
            system.ftruncate(fd, offset)
        else:
            system.pwrite(fd, bytes([number + 1]) * length, offset)
    before = content(disk, '/data/a')
    if rng.random() < 0.5:
        system.fsync(fd)
        disk.crash(rng)
        assert content(disk, '/data/a') == before
    else:  # and what was not synced is undone in whole when nothing of it was kept
        disk.find('/data/a').log and disk.find('/data/a').survive(0, lambda low, high: low, FIRST)
        assert content(disk, '/data/a') == b''


class FIRST:
    """Chooses the first."""

    choice = staticmethod(lambda some: some[0])


def test_the_power_is_cut_after_a_change_and_stays_off():
    disk = Disk()
    disk.power_off_at(2)
    with pytest.raises(PowerCut):
        write(disk, '/data/a', b'a')
    assert content(disk, '/data/a') == b'a'
    for _ in range(2):
        with pytest.raises(PowerCut):
            modules_on(disk).os.listdir('/data')
    disk.kill()
    assert modules_on(disk).os.listdir('/data') == ['a']


def test_a_kill_in_the_middle_of_a_write_leaves_its_first_bytes():
    disk = Disk()
    disk.power_off_at(1, torn=3)
    with pytest.raises(PowerCut):
        write(disk, '/data/a', b'abcdef')
    disk.kill()
    assert content(disk, '/data/a') == b'abc'


def test_a_process_that_is_gone_changes_nothing():
    with pytest.raises(PowerCut):
        modules_on(Gone()).os.unlink('/data/a')


# Locks, descriptors, boots.


def test_a_lock_is_held_until_its_file_is_closed_or_the_process_is_killed():
    import fcntl

    disk = Disk()
    python = modules_on(disk)
    first, second = (python.os.open('/data/l', os.O_RDWR | os.O_CREAT) for _ in range(2))
    python.fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(BlockingIOError):
        python.fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    python.os.close(first)
    python.fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    disk.kill()
    third = python.os.open('/data/l', os.O_RDWR)
    python.fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_another_boot_has_another_name():
    def name(disk):
        return modules_on(disk).open('/proc/sys/kernel/random/boot_id').read()

    disk = Disk()
    first = name(disk)
    disk.kill()
    assert name(disk) == first
    disk.crash(random.Random(1))
    assert name(disk) != first


# Faults.


def test_a_full_disk_takes_a_part_and_then_nothing():
    disk = Disk()
    system = modules_on(disk).os
    fd = system.open('/data/a', os.O_RDWR | os.O_CREAT)
    disk.faults.room = 3 * SECTOR
    assert system.pwrite(fd, b'x' * 5000, 0) == 3 * SECTOR
    with pytest.raises(OSError, match='No space left'):
        system.pwrite(fd, b'x', 3 * SECTOR)
    assert system.pwrite(fd, b'y' * 100, 0) == 100  # it has that space already
    system.ftruncate(fd, SECTOR)
    assert system.pwrite(fd, b'x' * 5000, SECTOR) == 2 * SECTOR


def test_a_hole_takes_no_space_until_it_is_written_to():
    disk = Disk()
    system = modules_on(disk).os
    disk.faults.room = 2 * SECTOR
    fd = system.open('/data/a', os.O_RDWR | os.O_CREAT)
    system.ftruncate(fd, 100_000)
    assert system.pwrite(fd, b'x' * 2000, 50 * SECTOR) == 2 * SECTOR


def test_a_call_fails_when_its_turn_comes():
    disk = Disk()
    write(disk, '/data/a', b'abc')
    disk.faults.failing = {disk.calls + 2: errno.EIO}
    with pytest.raises(OSError, match='Input/output error'):
        modules_on(disk).open('/data/a', 'rb').read()
    assert modules_on(disk).open('/data/a', 'rb').read() == b'abc'


def test_there_are_no_more_descriptors_than_the_process_may_have():
    disk = Disk()
    write(disk, '/data/a', b'abc')
    disk.faults.most_open = 1
    file = modules_on(disk).open('/data/a', 'rb')
    with pytest.raises(OSError, match='Too many open files'):
        modules_on(disk).open('/data/a', 'rb')
    file.close()
    assert modules_on(disk).open('/data/a', 'rb').read() == b'abc'


def test_nothing_changes_on_a_read_only_disk():
    disk = Disk()
    write(disk, '/data/a', b'abc')
    disk.faults.read_only = True
    python = modules_on(disk)
    for change in (
        lambda: python.os.unlink('/data/a'),
        lambda: python.os.rename('/data/a', '/data/b'),
        lambda: python.open('/data/a', 'wb'),
        lambda: python.open('/data/b', 'wb'),
        lambda: python.os.mkdir('/data/c'),
    ):
        with pytest.raises(OSError, match='Read-only file system'):
            change()
    assert python.open('/data/a', 'rb').read() == b'abc'


def test_calls_take_the_time_that_was_asked_for():
    disk = Disk()
    slept = []
    disk.faults.delay = {'write': 2.0, 'fsync': 3.0}.get
    disk.faults.sleep = slept.append
    write(disk, '/data/a', b'abc', sync=True)
    assert slept == [2.0, 3.0]
