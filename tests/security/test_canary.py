"""Pickles that name globals by every opcode, in every place where a client can put bytes: nothing
of them is ever run.

Each example goes to a real server process, is called for by every method of the table, and again
after a restart.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.attacks import CALLINGS, NAMINGS, TARGETS, WRAPPINGS, Attacker, expression, pickled
from support.speaking import KINDS
from ZEO.wire.calls import OF_CLIENT

EXPRESSIONS = st.tuples(
    *(st.sampled_from(sorted(choices)) for choices in (NAMINGS, CALLINGS, TARGETS, WRAPPINGS))
)


def attack(target, attacker, chosen):
    """Put one expression everywhere, and have everything read."""
    opcodes = expression(*chosen, target.canary)
    for place in attacker.place(opcodes):
        assert target.canary_lives(), (chosen, place)
    attacker.call_everything(pickled(opcodes))
    assert target.canary_lives(), (chosen, 'calls')


def attack_many(start, kind, protocol, several, **options):
    """Attack one server with some expressions, and let it start again with what it has stored."""
    target = start(kind, protocol, **options)
    attacker = Attacker(target.connect)
    for chosen in several:
        attack(target, attacker, chosen)
    target.start()
    attacker.reconnect()
    attacker.call_everything(b'')
    assert target.canary_lives()
    assert attacker.tried(lambda client: client.call('ping') or True), (
        'the server does not answer any more'
    )


FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize('protocol', ['Z5', 'M5'])
@pytest.mark.parametrize('kind', KINDS)
@settings(max_examples=2, deadline=None, suppress_health_check=FIXTURES)
@given(several=st.lists(EXPRESSIONS, min_size=1, max_size=2), client_resolves=st.booleans())
def test_some_expressions(start, kind, protocol, several, client_resolves):
    attack_many(start, kind, protocol, several, client_conflict_resolution=client_resolves)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize('protocol', ['Z5', 'M5'])
@pytest.mark.parametrize('kind', KINDS)
@settings(max_examples=30, deadline=None, suppress_health_check=FIXTURES)
@given(several=st.lists(EXPRESSIONS, min_size=5, max_size=20), client_resolves=st.booleans())
def test_many_expressions(start, kind, protocol, several, client_resolves):
    attack_many(start, kind, protocol, several, client_conflict_resolution=client_resolves)


def test_every_opcode_that_names_or_calls_is_tried(start):
    """On one storage all of them, each once: what is drawn at random may leave one out."""
    target = start()
    attacker = Attacker(target.connect)
    for naming in sorted(NAMINGS):
        for calling in sorted(CALLINGS):
            opcodes = expression(naming, calling, 'os.system', 'alone', target.canary)
            attacker.conflicts(
                b'\x80\x03cBTrees.Length\nLength\nq\0.' + pickled(b'K\1'),
                pickled(opcodes) + pickled(b'N'),
                pickled(opcodes) + pickled(opcodes),
            )
            attacker.commit(
                (attacker.new_oid(), b'\0' * 8, pickled(b'N') * 2), extension=pickled(opcodes)
            )
            assert target.canary_lives(), (naming, calling)
    attacker.call_everything(b'')


def test_the_arguments_of_every_call_are_known(start):
    """A new call is attacked as well."""
    attacker = Attacker(start('mapping').connect)
    known = attacker.known_calls()
    assert set(OF_CLIENT) <= known


@pytest.mark.parametrize('calling', sorted(CALLINGS))
def test_the_expressions_would_run(tmp_path, calling):
    """They are no blanks: Python's own unpickler runs most of them."""
    import pickle

    canary = tmp_path / 'canary'
    opcodes = expression('GLOBAL', calling, 'os.system', 'alone', str(canary))
    try:
        pickle.loads(b'\x80\x04' + opcodes + b'.')
    except Exception:
        pass
    if calling in ('REDUCE', 'REDUCE with MARK'):
        assert canary.exists()
