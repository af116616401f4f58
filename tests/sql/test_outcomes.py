"""What clients hear of a commit whose connection to the database is lost, or hangs."""

import contextlib
import os
import signal
import threading
import time

import pytest
from transaction.interfaces import TransientError
from ZODB.config import storageFromString
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError
from ZODB.utils import p64, z64

from support import postgres
from support.history import committed
from support.postgres_wire import Wire
from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import Loop
from ZEO.serving.backends import connections, finishing, hanging
from ZEO.serving.backends.outcome import Outcomes, Unknown

#: What RelStorage sends to make a transaction permanent.
COMMIT = b'COMMIT; SELECT'


@pytest.fixture
def wire(cluster):
    """A wire to the database."""
    made = Wire(cluster.directory)
    yield made
    made.close()


@pytest.fixture
def server(sql, wire, serving):
    """A server that reaches its database over the wire."""
    section = sql.section().replace(sql.cluster.directory, wire.directory)
    return serving(storageFromString(section))


@pytest.fixture
def two(server, clients):
    """Two clients of it, which know one object."""
    one, other = clients(server.addr), clients(server.addr)
    committed(one, [p64(1), p64(2)])
    in_time(lambda: other.lastTransaction() == one.lastTransaction())
    return one, other


def in_time(condition, seconds=20):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it never became true'
        time.sleep(0.01)


def voted(client, number=1, data=b'new'):
    """Return a transaction that was voted for."""
    meta, oid = TransactionMetaData(), p64(number)
    client.tpc_begin(meta)
    client.store(oid, client.getTid(oid), data, '', meta)
    client.tpc_vote(meta)
    return meta


def test_a_commit_whose_answer_is_lost_is_reported_as_committed(two, wire, caplog):
    one, other = two
    assert other.load(p64(1))[0] == b'data'
    meta = voted(one)
    wire.lose_answer(COMMIT)
    tid = one.tpc_finish(meta)
    assert wire.met.is_set()
    assert one.load(p64(1)) == (b'new', tid)
    in_time(lambda: other.lastTransaction() == tid)
    assert other.load(p64(1)) == (b'new', tid)
    assert 'it was committed' in caplog.text
    committed(other, [p64(1)])  # no lock is left


def test_a_commit_that_never_arrives_fails_cleanly(two, wire, caplog):
    one, other = two
    meta = voted(one)
    wire.lose_statement(COMMIT)
    with pytest.raises(ConflictError, match='nothing was changed'):
        one.tpc_finish(meta)
    one.tpc_abort(meta)
    assert 'it was not committed' in caplog.text
    assert other.load(p64(1))[0] == b'data'
    one.tpc_finish(voted(one))
    in_time(lambda: other.load(p64(1))[0] == b'new')


def test_a_session_that_has_lost_its_client_and_waits_for_a_lock_is_ended(two, sql, wire):
    one, _ = two
    meta = voted(one)
    holder = sql.cluster.connect(sql.name)
    holder.cursor().execute('select pg_advisory_lock(-1)')  # RelStorage's commit lock
    try:
        wire.call_before(COMMIT, lambda: threading.Timer(0.3, wire.reset).start())
        with pytest.raises(ConflictError, match='nothing was changed'):
            one.tpc_finish(meta)
    finally:
        holder.close()
    one.tpc_abort(meta)
    one.tpc_finish(voted(one))


def test_a_session_that_the_database_ends_meanwhile_has_an_outcome(two, sql, wire):
    one, other = two
    meta = voted(one)
    wire.call_before(COMMIT, lambda: sql.cluster.end_connections(sql.name))
    try:
        tid = one.tpc_finish(meta)
    except ConflictError:
        one.tpc_abort(meta)
        tid = None
    in_time(lambda: sees(other, b'new') is (tid is not None))


@pytest.fixture
def impatient(monkeypatch):
    """A server that does not wait as long as it would."""
    monkeypatch.setattr(hanging, 'EVERY', 0.1)
    monkeypatch.setattr(hanging, 'HUNG', 0.5)
    monkeypatch.setattr(connections, 'YOUNG', 0.2)
    monkeypatch.setitem(connections.BOUNDED, 'connect_timeout', 2)
    return monkeypatch


@contextlib.contextmanager
def hung_in_finish(client, sql, wire):
    """Have the database stop when a commit arrives there; give what becomes of that."""
    meta = voted(client)
    outcomes = []

    def finish():
        try:
            outcomes.append(client.tpc_finish(meta))
        except TransientError as error:
            client.tpc_abort(meta)
            outcomes.append(error)

    thread = threading.Thread(target=finish)
    with contextlib.ExitStack() as stack:
        wire.call_before(COMMIT, lambda: stack.enter_context(sql.cluster.hung()))
        thread.start()
        assert wire.met.wait(20)
        yield outcomes
    thread.join(30)
    assert not thread.is_alive()


def test_a_commit_that_hangs_has_an_outcome_once_the_database_answers(
    impatient, two, sql, wire, caplog
):
    one, other = two
    with hung_in_finish(one, sql, wire) as outcomes:
        in_time(lambda: 'connections are cut' in caplog.text)
    (outcome,) = outcomes
    assert isinstance(outcome, (bytes, ConflictError))
    in_time(lambda: sees(other, b'new') is isinstance(outcome, bytes))
    in_time(lambda: commits(other))


def test_a_commit_that_hangs_for_too_long_is_not_known(impatient, two, sql, wire):
    one, other = two
    impatient.setattr(finishing, 'LONGEST', 0.5)
    with hung_in_finish(one, sql, wire) as outcomes:
        in_time(lambda: outcomes)
        assert isinstance(outcomes[0], ClientDisconnected)
    in_time(lambda: commits(other))


def test_a_thread_is_left_alone_whose_connection_cannot_be_cut(impatient, two, sql, wire):
    one, other = two
    impatient.setattr(connections, '_cut', lambda connection: None)
    impatient.setattr(hanging, 'LEFT', 0.5)
    with hung_in_finish(one, sql, wire) as outcomes:
        in_time(lambda: outcomes)
        assert isinstance(outcomes[0], ClientDisconnected)
    for _ in range(6):  # every place is there
        in_time(lambda: commits(other))


def test_a_single_session_that_hangs_is_cut(two, sql, wire, monkeypatch, caplog):
    one, other = two
    monkeypatch.setattr(hanging, 'EVERY', 0.1)
    monkeypatch.setattr(hanging, 'LONGEST_STEP', 0.5)
    meta = voted(one)
    stopped = []

    def stop():
        rows = sql.execute(
            'select pid from pg_stat_activity where datname = %s and backend_xid is not null',
            sql.name,
        )
        stopped.append(rows[0][0])
        os.kill(stopped[0], signal.SIGSTOP)
        threading.Timer(1.5, os.kill, (stopped[0], signal.SIGCONT)).start()

    wire.call_before(COMMIT, stop)
    try:
        outcome = one.tpc_finish(meta)
    except ConflictError:
        one.tpc_abort(meta)
        outcome = None
    assert 'permanent; it was' in caplog.text
    in_time(lambda: sees(other, b'new') is (outcome is not None))


def sees(client, data):
    """Return whether a client loads that data; None when it cannot load."""
    try:
        return client.load(p64(1))[0] == data
    except TransientError:
        return None


def commits(client):
    """Return whether a client can commit."""
    try:
        client.tpc_finish(voted(client, 2))
    except TransientError:
        return False
    return True


@pytest.fixture
def asked(sql):
    """A RelStorage that has voted, and what says what becomes of its transaction."""
    storage = sql.open()
    committed(storage, [p64(1)])
    before = storage.lastTransaction()
    meta = voted(storage)
    outcomes = Outcomes(storage._adapter, Loop().system)
    mark = outcomes.mark(storage, before)
    yield storage, meta, outcomes, mark
    storage.close()


def find(outcomes, mark):
    """Ask what has become of a transaction."""
    now = time.monotonic()
    return outcomes.find(mark, [p64(1)], now, now + 5)


def test_a_transaction_is_found_by_its_mark(asked):
    storage, meta, outcomes, mark = asked
    assert find(outcomes, mark._replace(number=mark.number + 1000)) is None  # not given yet
    tid = storage.tpc_finish(meta)
    assert find(outcomes, mark) == tid


def test_a_number_that_was_given_again_is_not_taken_for_the_first(asked):
    storage, meta, outcomes, mark = asked
    tid = storage.tpc_finish(meta)
    crashed = mark._replace(generation='another')
    assert find(outcomes, crashed) == tid  # committed before the connection was lost
    with pytest.raises(Unknown, match='another'):
        find(outcomes, crashed._replace(clock=mark.clock - 3600))
    with pytest.raises(Unknown, match='no rows'):
        outcomes.find(mark, [p64(7)], time.monotonic(), time.monotonic())


def test_a_transaction_that_is_overwritten_is_found(asked, sql):
    storage, meta, outcomes, mark = asked
    tid = storage.tpc_finish(meta)
    (following,) = committed(storage, [p64(1)])
    if sql.keeps_history:
        assert find(outcomes, mark) == tid
    else:
        assert tid <= find(outcomes, mark) < following
        with pytest.raises(Unknown):
            find(outcomes, mark._replace(generation='another'))


@pytest.mark.slow
def test_a_crash_of_the_database_begins_another_generation():
    cluster = postgres.Cluster()  # what it has not written yet is lost, of all databases
    try:
        name = cluster.create()
        marks = [mark_of(cluster.open(name, True))]
        ((pid,),) = cluster.execute(
            'postgres', 'select pid from pg_stat_activity where backend_xid is not null'
        )
        os.kill(pid, signal.SIGKILL)  # PostgreSQL ends all sessions, and starts anew

        def asks():
            try:
                marks.append(mark_of(cluster.open(name, True)))
            except Exception:
                return False
            return True

        in_time(asks)
        assert marks[0].generation != marks[-1].generation
    finally:
        cluster.close()


def mark_of(storage):
    """Return the mark of a transaction of a new object."""
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.store(p64(7), z64, b'data', '', meta)
    storage.tpc_vote(meta)
    return Outcomes(storage._adapter, Loop().system).mark(storage, z64)
