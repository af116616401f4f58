"""Each check finds what it is for, and accepts what is right."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.simulation import objects
from support.simulation.checks import check
from support.simulation.history import (
    COMMITTED,
    READ,
    REFUSED,
    UNKNOWN,
    Attempt,
    CacheContents,
    History,
    Recorder,
    Transaction,
)


def tid(number):
    return f'{number:016x}'


class Bank:
    """Histories of a few transactions, one after another, all of them right at first."""

    def __init__(self):
        self.history = History(transactions=[], accounts=['a', 'b'], total=100, counters=['n'])
        self.time = 0.0
        self.last = 0
        self.values = {}
        self.commit('setup', w={'a': 50, 'b': 50, 'l': [], 'm': [], 'n': 0})

    def attempt(self, client='one', reads='', at=None, **more):
        """An attempt that reads, and does not end."""
        self.time += 1
        attempt = Attempt(f'{client}.{len(self.history.attempts)}', client, began=self.time, **more)
        attempt.snapshot = tid(self.last if at is None else at)
        attempt.started = self.time + 0.1
        attempt.steps = [['r', key, self.at(key, attempt.snapshot)] for key in reads]
        self.history.attempts.append(attempt)
        return attempt

    def at(self, key, snapshot):
        found = None
        for transaction in self.history.transactions:
            if transaction.tid <= snapshot and key in transaction.values:
                found = transaction.values[key]
        return found

    def end(self, attempt, outcome, number=None):
        self.time += 1
        attempt.ended, attempt.outcome = self.time, outcome
        attempt.tid = tid(number) if number else None
        return attempt

    def read(self, reads, client='one', **more):
        return self.end(self.attempt(client, reads, **more), READ)

    def write(self, attempt, w=None, append=None, add=None):
        """Have an attempt change something, in the database as well."""
        attempt.steps += [['w', key, value] for key, value in (w or {}).items()]
        for key, element in (append or {}).items():
            if attempt.read(key) is None:
                attempt.steps.append(['r', key, self.at(key, attempt.snapshot)])
            attempt.steps.append(['append', key, element])
        values = attempt.written()
        for key, amount in (add or {}).items():
            attempt.steps.append(['add', key, amount])
            values[key] = self.at(key, tid(self.last)) + amount
        attempt.committing = self.time
        self.last += 1
        self.history.transactions.append(Transaction(tid(self.last), attempt.id, values))
        return attempt

    def commit(self, client='one', reads='', **changes):
        attempt = self.write(self.attempt(client, reads), **changes)
        return self.end(attempt, COMMITTED, self.last)

    def kinds(self):
        return {anomaly.kind for anomaly in check(self.history)}


@pytest.fixture
def bank():
    return Bank()


def test_a_right_history_is_accepted(bank):
    bank.commit('one', 'ab', w={'a': 40, 'b': 60})
    bank.commit('two', 'l', append={'l': 1})
    bank.commit('one', 'lm', append={'l': 2, 'm': 3})
    bank.commit('two', 'n', add={'n': 5})
    bank.read('ablmn', 'two')
    assert bank.kinds() == set()


def test_it_is_the_same_after_it_was_written_and_read(bank):
    bank.commit('two', 'l', append={'l': 1})
    bank.history.caches = [CacheContents('two', tid(1), [['00', tid(1), None, 'x']])]
    again = History.from_lines(list(bank.history.lines()))
    assert again == bank.history


def test_write_skew_is_allowed_but_not_with_read_current(bank):
    one, two = bank.attempt('one', 'lm'), bank.attempt('two', 'lm')
    bank.end(bank.write(one, append={'l': 1}), COMMITTED, bank.last)
    bank.end(bank.write(two, append={'m': 2}), COMMITTED, bank.last)
    assert bank.kinds() == set()
    one.steps.append(['rc', 'm'])
    assert bank.kinds() == set()  # which was current still
    two.steps.append(['rc', 'l'])
    assert {'readCurrent was not', 'G1c'} <= bank.kinds()


def test_a_lost_update(bank):
    one, two = bank.attempt('one', 'a'), bank.attempt('two', 'a')
    bank.end(bank.write(one, w={'a': 49}), COMMITTED, bank.last)
    bank.end(bank.write(two, w={'a': 48}), COMMITTED, bank.last)
    assert 'lost update' in bank.kinds()


def test_a_lost_append(bank):
    one, two = bank.attempt('one', 'l'), bank.attempt('two', 'l')
    bank.end(bank.write(one, append={'l': 1}), COMMITTED, bank.last)
    bank.end(bank.write(two, append={'l': 2}), COMMITTED, bank.last)
    bank.read('l', 'three', at=bank.last - 1)
    assert {'lost update', 'incompatible order'} <= bank.kinds()


def test_a_sum_of_two_snapshots(bank):
    before = bank.attempt('two', 'a')
    bank.commit('one', 'ab', w={'a': 40, 'b': 60})
    before.steps.append(['r', 'b', 60])
    bank.end(before, READ)
    assert {'wrong sum', 'wrong snapshot'} <= bank.kinds()


def test_a_fractured_read_of_lists_without_the_tids(bank):
    before = bank.attempt('two', 'l')
    bank.commit('one', 'lm', append={'l': 1, 'm': 2})
    before.steps.append(['r', 'm', [2]])
    bank.end(before, READ)
    bank.history.transactions = None
    assert bank.kinds() == {'G-single'}


def test_a_read_that_goes_back_without_the_tids(bank):
    bank.commit('one', 'l', append={'l': 1})
    bank.read('l', 'two')
    bank.read('l', 'two', at=1)
    for attempt in bank.history.attempts:
        attempt.snapshot = None
    bank.history.transactions = None
    assert bank.kinds() == {'G-single'}


def test_a_snapshot_that_goes_back(bank):
    bank.commit('one', w={'a': 50})
    bank.read('a', 'two')
    bank.read('a', 'two', at=1)
    assert bank.kinds() == {'snapshot goes back'}


def test_a_snapshot_without_the_own_commit(bank):
    bank.commit('two', w={'a': 50})
    bank.read('a', 'two', at=1)
    assert bank.kinds() == {'snapshot goes back'}


def test_an_old_snapshot_is_allowed_until_there_was_a_round_trip(bank):
    bank.commit('one', 'l', append={'l': 1})
    attempt = bank.read('l', 'two', at=1)
    assert bank.kinds() == set()
    attempt.synced = attempt.began
    assert bank.kinds() == {'stale after a round trip', 'G-single'}


def test_a_snapshot_may_be_chosen(bank):
    bank.commit('one', w={'a': 50})
    bank.read('a', 'one', at=1, kind='historical', synced=bank.time)
    assert bank.kinds() == set()


def test_a_snapshot_of_no_transaction(bank):
    bank.read('', 'two', at=9)
    assert bank.kinds() == {'snapshot of nothing'}


def test_a_lost_commit(bank):
    bank.commit('one', w={'a': 50})
    bank.history.transactions.pop()
    assert 'lost' in bank.kinds()


def test_a_lost_element(bank):
    bank.commit('one', append={'l': 1})
    bank.end(bank.write(bank.attempt('one'), append={'l': 2}), UNKNOWN)
    bank.read('l', 'two')
    bank.history.transactions.pop()
    assert 'lost' in bank.kinds()


def test_an_unknown_outcome_may_be_either(bank):
    there = bank.end(bank.write(bank.attempt('one', 'l'), append={'l': 1}), UNKNOWN)
    bank.read('l', 'two')
    assert bank.kinds() == set()
    bank.history.transactions.pop()
    bank.history.attempts.pop()
    assert bank.kinds() == set()
    there.outcome = None
    there.killed = True
    assert bank.kinds() == set()


def test_what_was_refused_is_not_there(bank):
    bank.end(bank.write(bank.attempt('one', 'l'), append={'l': 1}), REFUSED)
    bank.read('l', 'two')
    assert {'refused but there', 'G1a'} <= bank.kinds()


def test_what_was_never_sent_is_not_there(bank):
    bank.history.transactions.append(Transaction(tid(2), 'who?', {'a': 50}))
    assert bank.kinds() == {'made up'}
    bank.history.transactions[-1] = Transaction(tid(2), 'setup.0', {})
    assert 'committed twice' in bank.kinds()


def test_half_a_transaction(bank):
    bank.end(bank.write(bank.attempt('one'), w={'a': 40, 'b': 60}), UNKNOWN)
    del bank.history.transactions[-1].values['b']
    assert bank.kinds() == {'torn'}


def test_half_an_append(bank):
    attempt = bank.attempt('one', 'l')
    attempt.steps.append(['append', 'l', 1])
    bank.end(bank.write(attempt, append={'l': 2}), COMMITTED, bank.last)
    reader = bank.read('', 'two')
    reader.steps.append(['r', 'l', [1]])
    assert {'G1b', 'wrong snapshot'} <= bank.kinds()


def test_other_data_than_was_sent(bank):
    bank.commit('one', w={'m': 'x'})
    bank.history.transactions[-1].values['m'] = 'y'
    assert bank.kinds() == {'other data'}


def test_more_than_was_sent(bank):
    bank.commit('one', w={'a': 50})
    bank.history.transactions[-1].values['m'] = []
    assert bank.kinds() == {'torn'}


def test_tids_that_go_back(bank):
    one, two = bank.commit('one', w={'a': 50}), bank.commit('two', w={'b': 50})
    one.tid, two.tid = two.tid, one.tid
    assert {'tids go back', 'wrong tid'} <= bank.kinds()


def test_a_count_that_was_lost(bank):
    one, two = bank.attempt('one', 'n'), bank.attempt('two', 'n')
    bank.end(bank.write(one, add={'n': 5}), COMMITTED, bank.last)
    bank.end(bank.write(two, add={'n': 2}), COMMITTED, bank.last)
    assert bank.kinds() == set()
    bank.history.transactions[-1].values['n'] = 2
    assert bank.kinds() == {'wrong count'}


def test_an_undo(bank):
    one = bank.commit('one', append={'m': 1})
    undo = bank.attempt('two')
    undo.steps = [['undo', one.id]]
    undo.committing = bank.time
    bank.last += 1
    bank.history.transactions.append(Transaction(tid(bank.last), undo.id, {'m': []}))
    bank.end(undo, COMMITTED, bank.last)
    bank.read('m', 'one')
    assert bank.kinds() == set()
    bank.history.transactions[-1].values['m'] = [1]
    assert 'wrong undo' in bank.kinds()


def test_what_was_packed_away_is_known_from_those_who_wrote_it(bank):
    bank.commit('one', w={'a': 40, 'b': 60})
    bank.commit('one', w={'a': 30, 'b': 70})
    reader = bank.read('ab', 'two', at=2)
    del bank.history.transactions[1]
    assert 'lost' in bank.kinds()
    bank.history.packed = tid(3)
    assert bank.kinds() == set()
    reader.steps = [['r', 'a', 30]]
    assert bank.kinds() == {'wrong snapshot'}


def test_one_oid_for_two_objects(bank):
    for name in 'lm':
        bank.commit('one', w={name: []}).steps.append(['new', name, '0c'])
    assert bank.kinds() == {'one oid for two objects'}


def test_a_call_without_end(bank):
    attempt = bank.attempt('one')
    assert bank.kinds() == {'call without end'}
    attempt.killed = True
    assert bank.kinds() == set()


def test_a_call_that_takes_too_long(bank):
    attempt = bank.read('', 'one')
    attempt.within = 0.5
    assert bank.kinds() == {'call too long'}


def test_a_lock_that_was_left(bank):
    bank.end(bank.attempt('last', kind='last'), REFUSED)
    assert bank.kinds() == {'a lock was left'}


CACHES = {
    'current': (2, [3, None, 'x3'], set()),
    'ended': (3, [1, 3, 'x1'], set()),
    'not yet known to have ended': (2, [1, None, 'x1'], set()),
    'stale': (3, [1, None, 'x1'], {'cache is stale'}),
    'kept too long': (4, [1, 4, 'x1'], {'cache keeps a record too long'}),
    'ended without a change': (4, [3, 4, 'x3'], {'cache keeps a record too long'}),
    'other data': (3, [3, None, 'x1'], {'cache has other data'}),
    'made up': (3, [2, None, 'x2'], {'cache has what is not there'}),
}


@pytest.mark.parametrize('case', CACHES)
def test_a_cache(bank, case):
    at, (start, end, data), expected = CACHES[case]
    bank.history.records = {'07': [[tid(1), 'x1'], [tid(3), 'x3']]}
    record = ['07', tid(start), tid(end) if end else None, data]
    bank.history.caches = [CacheContents('one', tid(at), [record])]
    assert bank.kinds() == expected
    bank.history.is_polled = True  # then a record may end too early, and no other is worse
    assert bank.kinds() == (set() if case == 'ended without a change' else expected)


# By chance.


@st.composite
def steps(draw):
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(['one', 'two', 'three']), st.sampled_from('lmn'), st.booleans()
            ),
            min_size=3,
            max_size=20,
        )
    )


@given(steps())
def test_one_after_another_is_always_right(todo):
    bank = Bank()
    for number, (client, key, writes) in enumerate(todo):
        if writes:
            kind = 'add' if key == 'n' else 'append'
            bank.commit(client, 'lmab', **{kind: {key: number + 1}})
        else:
            bank.read('lmn', client)
    assert bank.kinds() == set()


@given(steps(), st.data())
def test_a_read_of_another_version_is_always_found(todo, data):
    """Among reads that have the whole state, whatever one of them has of another time, values alone
    tell it.
    """
    bank = Bank()
    for number, (client, key, _) in enumerate(todo):
        bank.commit(client, 'lm', append={'l' if key == 'l' else 'm': number + 1})
    reader = bank.read('lm', 'reader', at=data.draw(st.integers(1, bank.last)))
    key = data.draw(st.sampled_from('lm'))
    other = data.draw(st.integers(1, bank.last))
    step = next(step for step in reader.steps if step[1] == key)
    before, step[2] = step[2], bank.at(key, tid(other))
    assert ('wrong snapshot' in bank.kinds()) == (before != step[2])
    states = [(bank.at('l', tid(n)), bank.at('m', tid(n))) for n in range(1, bank.last + 1)]
    bank.history.transactions = None
    possible = (reader.read('l'), reader.read('m')) in states
    assert bool(bank.kinds() & {'G-single', 'G-nonadjacent'}) == (not possible)


# The recorder.


def test_a_recorder_writes_down_what_a_killed_process_has_begun():
    lines = []
    recorder = Recorder('one', iter(range(100)).__next__, write=lines.append)
    attempt = recorder.begin()
    recorder.started(attempt, b'\0' * 7 + b'\1')
    attempt.steps.append(['w', 'a', 1])
    assert not History.from_lines(lines).attempts[0].may_be_there
    recorder.committing(attempt)
    read = History.from_lines(lines).attempts[0]
    assert read.may_be_there and read.ended is None and read.snapshot == tid(1)
    recorder.ended(attempt, COMMITTED, b'\0' * 7 + b'\2')
    assert History.from_lines(lines).attempts == [attempt]


def test_a_round_trip_counts_from_its_beginning_and_not_when_it_fails():
    recorder = Recorder('one', iter(range(100)).__next__)
    recorder.round_trip(recorder.now)
    assert recorder.synced == 0
    with pytest.raises(ZeroDivisionError):
        recorder.round_trip(lambda: 1 / 0)
    assert recorder.synced == 0


@pytest.mark.parametrize('line', ['[]', json.dumps({'what': 1}), json.dumps({'id': 1, 'what': 2})])
def test_lines_that_are_not_a_history(line):
    with pytest.raises(ValueError, match='history|Attempt'):
        History.from_lines([line])


def test_a_follower_that_has_other_data_or_not_all(bank):
    bank.commit('one', 'l', append={'l': 1})
    last = bank.history.transactions[-1]
    bank.history.copies['f1'] = list(bank.history.transactions)
    assert bank.kinds() == set()
    assert History.from_lines(list(bank.history.lines())) == bank.history
    bank.history.copies['f1'][-1] = Transaction(last.tid, last.id, {'l': [2]})
    assert bank.kinds() == {'a follower has other data'}
    del bank.history.copies['f1'][-1]
    assert bank.kinds() == {'a follower has other data'}
    bank.history.packed = last.tid  # what is older may differ
    assert bank.kinds() == set()


@pytest.mark.parametrize('size', objects.SIZES)
def test_a_blob_is_whole_or_torn(size):
    found = objects.content('v0', 'c1.2', size)
    assert objects.value_in('v0', found) == 'c1.2'
    assert objects.value_in('v0', objects.content('v0', 0, size)) == 0
    for other in (found[:-1], found + b'x', b'', b'\0' * len(found), found[:9] + b'?' + found[10:]):
        if other != found:
            assert objects.value_in('v0', other).startswith('torn')
    assert objects.value_in('v1', found).startswith('torn')
