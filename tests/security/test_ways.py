"""The four ways by which a client ran code in a server, each alone, on every kind of storage."""

import pytest

from support.attacks import LENGTH, NEWEST, Attacker, bytes_, pickled, text
from support.speaking import KINDS

SWITCHED = [False, True]


def touching(target):
    return b'cos\nsystem\n' + text(f'touch {target.canary}') + b'\x85R'


@pytest.mark.parametrize('client_resolves', SWITCHED, ids=['server resolves', 'client resolves'])
@pytest.mark.parametrize('protocol', ['Z5', 'M5'])
@pytest.mark.parametrize('kind', KINDS)
class TestWays:
    @pytest.fixture
    def target(self, start, kind, protocol, client_resolves):
        return start(kind, protocol, client_conflict_resolution=client_resolves)

    def test_the_name_of_a_class_that_lost_a_conflict(self, target):
        attacker = Attacker(target.connect)
        attacker.conflicts(
            LENGTH % 1, LENGTH % 2, pickled(b'N0' + touching(target)) + pickled(b'}')
        )
        attacker.conflicts(LENGTH % 1, LENGTH % 2, pickled(touching(target)))
        assert target.canary_lives()

    def test_functions_of_modules_that_conflicts_are_resolved_by(self, target):
        found = (
            b'cZODB.broken\nfind_global\n'
            + text('os')
            + text('system')
            + b'\x86R'
            + text(f'touch {target.canary}')
            + b'\x85R'
        )
        loaded = b'cZODB._compat\nloads\n' + bytes_(pickled(touching(target))) + b'\x85R'
        attacker = Attacker(target.connect)
        for opcodes in (found, loaded, touching(target)):
            state = b'\x80\x03cBTrees.Length\nLength\nq\0.' + pickled(opcodes)
            for records in (
                (LENGTH % 1, LENGTH % 2, state),
                (state, LENGTH % 2, LENGTH % 3),
                (LENGTH % 1, state, LENGTH % 3),
            ):
                attacker.conflicts(*records)
        assert target.canary_lives()

    def test_the_extension_of_a_transaction(self, target):
        attacker = Attacker(target.connect)
        one = attacker.new_oid()
        attacker.commit(
            (one, b'\0' * 8, LENGTH % 1),
            extension=pickled(b'}' + text('key') + touching(target) + b's'),
        )
        attacker.commit(
            (attacker.new_oid(), b'\0' * 8, LENGTH % 1), extension=pickled(touching(target))
        )
        attacker.call_everything(b'')
        if target.kind in ('file', 'hosted'):
            assert attacker.tried(lambda client: client.call('undoLog', 0, -10)) is not None
            assert attacker.tried(lambda client: client.call('history', one, 10)) is not None
        target.start()
        attacker.call_everything(b'')
        assert target.canary_lives()

    def test_a_state_that_is_nested_too_deeply(self, target):
        attacker = Attacker(target.connect)
        deep = b'})' + b'\x85' * 500_000 + b'Ns'
        memo = b'Nr' + (2**27).to_bytes(4, 'little')
        before = target.server.memory()
        for opcodes in (deep, memo):
            for record in (
                b'\x80\x03cBTrees.Length\nLength\nq\0.' + pickled(opcodes),
                pickled(opcodes) + pickled(b'}'),
            ):
                attacker.conflicts(LENGTH % 1, LENGTH % 2, record)
                attacker.commit((attacker.new_oid(), b'\0' * 8, record))
        attacker.tried(lambda client: client.call('pack', 4e9, True))
        assert attacker.tried(lambda client: client.call('ping') or True)
        assert target.server.memory() < before + 200 * 2**20
        assert target.canary_lives()


def test_an_extension_that_is_not_plain_is_kept_to_the_byte_and_told_in_part(start):
    target = start()
    attacker = Attacker(target.connect)
    data = pickled(b'}(' + text('plain') + text('value') + text('object') + touching(target) + b'u')
    one = attacker.new_oid()
    attacker.commit((one, b'\0' * 8, LENGTH % 1), extension=data)
    client = target.connect()
    described = client.call('undoLog', 0, -1)[0]
    assert described['plain'] == 'value' and 'object' not in described
    assert client.call('history', one, 1)[0]['plain'] == 'value'
    number = client.call('iterator_start', None, None)
    assert client.call('iterator_next', number)[4] == data
    assert (
        client.call('iterator_batch', client.call('iterator_start', None, None))[0][0][0][4] == data
    )
    client.call('undoLog', 0, -1)
    assert target.server.log().count('not plain') <= 1


@pytest.mark.parametrize('kind', ['file', 'zlib', 'demo', 'hosted'])
def test_what_was_a_conflict_that_the_server_resolves_still_is(start, kind):
    attacker = Attacker(start(kind).connect)
    one = attacker.new_oid()
    first = attacker.commit((one, b'\0' * 8, LENGTH % 0))
    attacker.commit((one, first, LENGTH % 10))
    assert attacker.commit((one, first, LENGTH % 3)) is not None
    assert attacker.tried(lambda client: client.call('loadBefore', one, NEWEST))[0] == LENGTH % 13
