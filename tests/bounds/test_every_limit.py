"""Each limit of a server, with the test that reaches it from outside, and the few that have no test
elsewhere.
"""

import ast
from pathlib import Path

import pytest
from ZODB.utils import maxtid, z64

from support.scripted import message, oid
from ZEO.serving.limits import bounds

TESTS = Path(__file__).parent.parent

#: Limit -> file and test.
REACHED = {
    'message_size': 'server/test_strangers.py::test_a_frame_of_4_gib_announced_by_a_client',
    'message_parts': 'bounds/test_every_limit.py::'
    'test_a_message_of_too_many_parts_ends_its_connection_only',
    'conflict_parts': 'bounds/test_every_limit.py::'
    'test_a_conflict_of_too_many_parts_goes_to_the_client',
    'handshake_size': 'server/test_strangers.py::test_a_frame_too_large_for_a_stranger',
    'handshake_time': 'server/test_strangers.py::test_silence_ends_at_the_handshake_deadline',
    'output_buffer': 'server/test_turns.py::'
    'test_answers_that_are_not_read_are_bounded_whatever_was_asked_for_at_once',
    'shared_output': 'server/test_turns.py::'
    'test_answers_that_many_clients_do_not_read_are_bounded_together',
    'turn': 'server/test_turns.py::test_a_client_with_many_calls_gives_way',
    'batch': 'server/test_prefetch.py::test_an_answer_is_bounded_and_says_how_far_it_goes',
    'connections': 'server/test_many_strangers.py::'
    'test_clients_beyond_the_bound_are_refused_and_silent_ones_make_place',
    'strangers': 'server/test_many_strangers.py::test_silent_connections_keep_no_one_out',
    'strangers_from_one': 'server/test_many_strangers.py::test_one_address_has_a_share',
    'commit_memory': 'bounds/test_transactions.py::'
    'test_many_transactions_of_one_client_share_its_memory',
    'shared_memory': 'bounds/test_messages.py::test_unfinished_messages_share_the_servers_memory',
    'transactions': 'bounds/test_transactions.py::test_one_transaction_too_many_fails_at_its_vote',
    'transaction_disk': 'bounds/test_transactions.py::'
    'test_a_transaction_too_large_for_the_disk_fails_at_its_vote',
    'blob_disk': 'bounds/test_blobs.py::test_uploads_past_their_bound_fail_the_vote',
    'record_memory': 'bounds/test_every_limit.py::test_records_that_are_kept_take_bounded_memory',
    'slow_calls': 'bounds/test_threads.py::'
    'test_a_client_that_asks_for_very_much_does_not_keep_others_from_their_answers',
    'iterators': 'bounds/test_files.py::test_iterators_keep_a_few_files_open',
    'downloads': 'bounds/test_files.py::test_more_blobs_than_may_wait',
    'monitor_connections': 'monitor/test_monitor.py::'
    'test_one_connection_too_many_closes_the_one_that_was_idle_longest',
    'monitor_time': 'monitor/test_monitor.py::test_a_connection_without_a_request_ends',
    'monitor_share': 'monitor/test_monitor.py::'
    'test_clients_are_served_while_others_ask_for_all_they_can',
    'invalidation_oids': 'bounds/test_every_limit.py::'
    'test_what_the_queue_holds_is_bounded_in_objects',
}


def test_every_limit_is_reached_by_a_test():
    assert sorted(REACHED) == sorted(bound.name for bound in bounds())
    for where in REACHED.values():
        path, _, name = where.partition('::')
        tree = ast.parse((TESTS / path).read_text(encoding='utf-8'))
        assert name in {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
        }, where


def goes_on(server, number):
    """Show that another client is served."""
    good = server.client()
    tid = good.commit(1, (oid(number), z64, b'good'))
    assert good.call('loadBefore', oid(number), maxtid) == (b'good', tid, None)
    return good


def test_a_message_of_too_many_parts_ends_its_connection_only(server):
    server.serve(limits={'message_parts': 1000})
    client, good = server.client(), goes_on(server, 900)
    client.send(message(1, False, 'ping', tuple([0] * 300 for _ in range(10))))
    client.ended()
    assert good.call('ping') is None


def test_a_conflict_of_too_many_parts_goes_to_the_client(server):
    """A counter's record, with more parts than a server looks through to resolve a conflict."""
    server.serve(limits={'conflict_parts': 100})
    client = server.client()
    record = b'\x80\x03cBTrees.Length\nLength\n.\x80\x03' + b'N0' * 200 + b'K\1.'
    first = client.commit(1, (oid(1), z64, record))
    client.commit(2, (oid(1), first, record))
    client.begin(3, (oid(1), first, record))
    with pytest.raises(LookupError, match='ConflictError'):
        client.call('vote', 3)
    client.call('tpc_abort', 3)
    goes_on(server, 901)


def test_records_that_are_kept_take_bounded_memory(server):
    server.serve(limits={'record_memory': 2**20})
    client = server.client()
    client.commit(1, *((oid(number), z64, b'x' * 30_000) for number in range(1000)))
    client.call('loadBefore', oid(0), maxtid)
    before = server.memory()
    for number in range(1000):  # thirty times what may be kept
        assert client.call('loadBefore', oid(number), maxtid)[0] == b'x' * 30_000
    assert server.memory() < before + 10 * 2**20


def test_what_the_queue_holds_is_bounded_in_objects(server):
    """Transactions of more objects than are remembered push the older ones out: who asks for those
    checks all it has.
    """
    server.serve(limits={'invalidation_oids': 100})
    client = server.client()
    tids = [
        client.commit(number, *((oid(number * 60 + item), z64, b'x') for item in range(60)))
        for number in range(4)
    ]
    last, changed = client.call('getInvalidations', tids[2])
    assert last == tids[3] and sorted(changed) == [oid(180 + item) for item in range(60)]
    assert client.call('getInvalidations', tids[0]) is None
