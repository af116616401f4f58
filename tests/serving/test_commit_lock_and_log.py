"""The commit lock is handed on in order; the commit log keeps operations in order, in memory or on
disk.
"""

import io
import tempfile
from collections import deque

import pytest
from ZODB.POSException import StorageError
from ZODB.utils import p64, z64

from ZEO.serving import account as account_module
from ZEO.serving.account import FIRST_OPERATIONS, OVERHEAD, Account, Budget, TooMuch
from ZEO.serving.commit.lock import CommitLock
from ZEO.serving.commit.log import LARGE, CommitLog
from ZEO.serving.commit.operations import (
    CheckCurrent,
    Delete,
    Restore,
    RestoreBlob,
    Store,
    StoreBlob,
    Undo,
)
from ZEO.serving.limits import Limits

#: Who wants the lock is told apart by identity.
WHO = ['a', 'b', 'c']


class Soon(deque):
    """What is called at the end of a wake-up."""

    def run(self):
        while self:
            self.popleft()()


@pytest.fixture
def soon():
    return Soon()


@pytest.fixture
def lock(soon):
    return CommitLock(soon.append)


def test_first_come_first_served(lock, soon):
    order = []
    for who in WHO:
        lock.acquire(who, lambda who=who: order.append(who))
    assert (order, lock.holder, lock.waiting) == (['a'], 'a', 2)
    for who in WHO:
        lock.release(who)
        soon.run()
    assert order == ['a', 'b', 'c']
    assert lock.holder is None


def test_who_gives_up_waiting_is_not_handed_the_lock(lock, soon):
    order = []
    for who in WHO:
        lock.acquire(who, lambda who=who: order.append(who))
    lock.release(WHO[1])
    lock.release(WHO[0])
    soon.run()
    assert order == ['a', 'c'] and lock.holder == 'c'


def test_releasing_without_it_is_no_harm(lock):
    lock.acquire('a', lambda: None)
    lock.release('other')
    assert lock.holder == 'a'
    lock.release('a')
    lock.release('a')
    assert lock.holder is None


def test_nobody_overtakes_whoever_was_handed_the_lock(lock, soon):
    order = []
    lock.acquire('a', lambda: order.append('a'))
    lock.acquire('b', lambda: order.append('b'))
    lock.release('a')
    lock.acquire('c', lambda: order.append('c'))  # before b was told
    soon.run()
    assert order == ['a', 'b']


def test_a_thousand_waiters_are_not_a_thousand_calls_deep(lock, soon):
    for who in range(5000):
        lock.acquire(who, lambda who=who: lock.release(who))
    soon.run()
    assert lock.holder is None and lock.waiting == 0


def take_all(lock, soon):
    """Release as often as it is granted; return in which order it was."""
    order = []
    while lock.holder is not None:
        order.append(lock.holder)
        lock.release(lock.holder, lock.holder[0])
        soon.run()
    return order


def test_a_client_with_many_transactions_takes_turns_with_the_others(lock, soon):
    for who in ['a1', 'a2', 'a3', 'a4', 'b1', 'c1', 'b2']:
        lock.acquire(who, lambda: None, who[0])
    assert lock.waiting == 6 and lock.waiting_clients == ['a', 'b', 'c']
    assert take_all(lock, soon) == ['a1', 'b1', 'a2', 'c1', 'b2', 'a3', 'a4']


def test_a_client_that_comes_late_waits_for_one_transaction_of_each_other(lock, soon):
    many = [f'a{number}' for number in range(9)]
    for who in many:
        lock.acquire(who, lambda: None, 'a')
    lock.release(many[0], 'a')
    lock.acquire('b0', lambda: None, 'b')
    lock.release(many[2], 'a')  # gives up
    soon.run()
    assert take_all(lock, soon)[:3] == ['a1', 'b0', 'a3']
    assert lock.waiting == 0


def account_of(memory, disk=10**9):
    return Account(Limits(commit_memory=memory, transaction_disk=disk), Budget(10**9))


def log_of(memory):
    return CommitLog(account_of(memory))


def file_of(log):
    """Return the file of what is not in memory."""
    return log._file


def in_memory(log):
    """Return how many operations are in memory."""
    return len(log._operations)


SIZES = [10, 200, 0, 5, 1000, 1]
OPERATIONS = [
    *(Store(p64(number), z64, b'a' * size) for number, size in enumerate(SIZES)),
    StoreBlob(p64(1), z64, b'record', '/path'),
    Restore(p64(2), z64, None, None),
    RestoreBlob(p64(3), z64, b'', z64, '/other'),
    CheckCurrent(p64(4), z64),
    Delete(p64(5), z64),
    Undo(b'id'),
    Undo('text'),
]


def store(data, number=0):
    return Store(p64(number), z64, data)


@pytest.mark.parametrize('memory', [0, 50, 10_000])
def test_operations_come_back_in_order_from_memory_or_disk(memory):
    log = log_of(memory)
    for operation in OPERATIONS:
        log.add(operation)
    assert len(log) == len(OPERATIONS)
    assert list(log.drain()) == OPERATIONS
    assert list(log.drain()) == []
    assert (file_of(log) is not None) == (memory < 1000)
    log.close()


def test_memory_is_bounded():
    account = account_of(1000)
    log = CommitLog(account)
    for _ in range(100):
        log.add(store(b'd' * 100))
    assert account.memory <= 1000 and len(log) == 100
    log.close()


def test_it_goes_on_after_being_drained():
    log = log_of(10)
    log.add(store(b'one' * 10))
    assert [operation.data for operation in log.drain()] == [b'one' * 10]
    log.add(store(b'two' * 10))
    assert [operation.data for operation in log.drain()] == [b'two' * 10]
    log.close()


def test_closing_frees_the_file():
    log = log_of(0)
    log.add(store(b'data'))
    file = file_of(log)
    log.close()
    log.close()
    assert file.closed and len(log) == 0


@pytest.mark.parametrize('has_threads', [True, False])
def test_another_thread_gives_back_a_large_file_where_there_is_one(has_threads):
    given = []

    def elsewhere(function):
        if not has_threads:
            raise StorageError('no thread can be started')
        given.append(function)

    log = CommitLog(account_of(0), 0, elsewhere)
    log.add(store(b'd' * LARGE))
    file = file_of(log)
    log.close()
    assert file.closed is not has_threads
    for function in given:
        function()
    assert file.closed


def test_what_a_log_has_taken_is_given_back():
    shared = Budget(10**9)
    account = Account(Limits(commit_memory=5000), shared)
    logs = [CommitLog(account) for _ in range(3)]
    for log in logs:
        for number in range(10):
            log.add(store(b'd' * 1000, number))
    assert account.memory == 5000 and account.records > 25_000
    assert shared.used == 5000 + 5 * OVERHEAD
    for log in logs:
        log.close()
        log.close()
    assert account.operations == account.memory == account.records == shared.used == 0


def test_a_small_transaction_does_not_ask_the_account():
    shared = Budget(10**9)
    account = Account(Limits(), shared)
    log = CommitLog(account, account.first_space)
    for number in range(FIRST_OPERATIONS):
        log.add(store(b'd' * 100, number))
    assert account.operations == 0 and shared.used == 0
    log.add(store(b'd'))
    assert account.operations > 0
    log.close()
    assert account.operations == account.memory == shared.used == 0


@pytest.mark.parametrize('memory', [0, 100_000, 10**7])
def test_what_is_not_asked_for_is_within_the_bound_of_a_client_as_well(memory):
    limits = Limits(commit_memory=memory)
    account = Account(limits, Budget(10**9))
    logs = [CommitLog(account, account.first_space) for _ in range(limits.transactions)]
    for log in logs:
        for number in range(40):
            log.add(store(b'd' * 2000, number))
    kept = sum(len(operation.data) for log in logs for operation in log._operations)
    assert kept <= memory
    for log in logs:
        log.close()


def test_a_million_small_operations_take_no_memory(monkeypatch):
    """They are in the file whole."""
    monkeypatch.setattr(account_module, 'OPERATIONS', 100)
    log = log_of(10_000)
    for number in range(1000):
        log.add(CheckCurrent(b'oid %d' % number, b'serial'))
    assert len(log) == 1000 and in_memory(log) == 100
    assert [operation.oid for operation in log.drain()] == [
        b'oid %d' % number for number in range(1000)
    ]
    log.close()


def test_logs_use_what_all_clients_share_up_to_a_part_that_is_left():
    shared = Budget(OVERHEAD * 16)
    logs = [CommitLog(Account(Limits(), shared)) for _ in range(2)]
    for log in logs:
        for number in range(10):
            log.add(Delete(p64(number), z64))
    assert [in_memory(log) for log in logs] == [10, 2]
    assert [operation.oid for operation in logs[1].drain()] == [p64(number) for number in range(10)]
    for log in logs:
        log.close()
    assert shared.used == 0


@pytest.mark.parametrize('large', [30_000, 66_000, 99_000, 200_000])
def test_what_comes_behind_a_large_record_stays_behind_it(large):
    account = account_of(100_000)
    log = CommitLog(account)
    operations = [
        store(b's' * size, number) for number, size in enumerate([10, large, 10, 2000, large, 10])
    ]
    for operation in operations:
        log.add(operation)
    assert account.memory <= 100_000
    assert list(log.drain()) == operations
    log.close()
    assert account.memory == account.operations == 0


def test_too_much_on_disk():
    account = account_of(0, disk=10_000)
    log = CommitLog(account)
    with pytest.raises(TooMuch, match='more than 10000 bytes.*max-transaction-size'):
        for number in range(20):
            log.add(store(b'd' * 1000, number))
    assert 5 < len(log) < 10
    log.close()
    assert account.records == 0


@pytest.mark.parametrize('memory', [0, 10_000])
@pytest.mark.parametrize('drained', [False, True])
def test_the_last_operation_can_be_taken_back(memory, drained):
    log = log_of(memory)
    if drained:  # as by a vote that found conflicts
        log.add(Undo(b'old' * 100))
        assert len(list(log.drain())) == 1
    one, two = (
        Store(name, b'serial', data) for name, data in ((b'one', b'data'), (b'two', b'more'))
    )
    blob = StoreBlob(b'two', b'serial', b'less', 'path')
    log.add(one)
    log.add(two)
    assert not log.take_back(StoreBlob(b'one', b'serial', b'data', 'path'))
    assert log.take_back(blob)
    log.add(blob)
    assert not log.take_back(blob)
    assert list(log.drain()) == [one, blob]
    log.close()


def test_a_full_disk(monkeypatch):
    """Whether the write fails, or what was buffered does when it is read back, somebody is told."""
    monkeypatch.setattr(
        tempfile,
        'TemporaryFile',
        lambda **options: open('/dev/full', 'w+b', buffering=io.DEFAULT_BUFFER_SIZE),
    )
    log = log_of(0)
    with pytest.raises(OSError, match='No space left'):
        for number in range(10):
            log.add(store(b'd' * 5000, number))
        list(log.drain())


def test_no_room_for_a_file_at_all(monkeypatch):
    def fail(**options):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(tempfile, 'TemporaryFile', fail)
    log = log_of(0)
    with pytest.raises(OSError):
        log.add(store(b'data'))
    assert len(log) == 0
