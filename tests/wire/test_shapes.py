"""The shapes of answers: one for every call that has an answer."""

import pytest

from ZEO.Exceptions import ProtocolError, UnrecognizedResult
from ZEO.wire import calls, shapes


def test_every_call_that_is_answered_has_a_shape():
    assert set(shapes.ANSWERS) == {name for name, call in calls.OF_CLIENT.items() if call.answered}


@pytest.mark.parametrize(
    'value',
    [5, 10**5000, 'x' * 10**6, b'', [], {}, None, 1.5, object(), [[]] * 10**5],
    ids=lambda value: type(value).__name__,
)
def test_a_wrong_answer_is_described_in_a_few_words(value):
    with pytest.raises(UnrecognizedResult) as caught:
        shapes.answer('tpc_finish', value, 'host:1')
    assert (
        str(caught.value).startswith('host:1 answered tpc_finish with ')
        and len(str(caught.value)) < 250
    )


@pytest.mark.parametrize(
    'name, answers',
    [
        ('loadBefore', [None, (b'', b'1' * 8, None), [b'x', b'1' * 8, b'2' * 8]]),
        (
            'record_iternext',
            [
                (b'1' * 8, b'1' * 8, b'x', None),
                (b'1' * 8, b'1' * 8, b'x', b'2' * 8),
                (b'1' * 8, b'1' * 8, b'x', 7),
            ],
        ),
        (
            'iterator_next',
            [None, (b'1' * 8, ' ', b'', b'', {}), (b'1' * 8, b' ', 'user', 'what', b'')],
        ),
        (
            'iterator_record_next',
            [None, (b'1' * 8, b'1' * 8, None, None), (b'1' * 8, b'1' * 8, b'x', b'1' * 8)],
        ),
        (
            'iterator_batch',
            [([], True), ((), False), ([((b'1' * 8, ' ', b'', b'', b''), (), True)], False)],
        ),
        (
            'vote',
            [
                None,
                [],
                (),
                [b'1' * 8],
                [{'oid': b'1' * 8, 'serials': [b'1' * 8] * 2, 'data': b''}, b'1' * 8],
            ],
        ),
        ('getInvalidations', [None, (b'1' * 8, []), [b'1' * 8, (b'2' * 8,)]]),
        (
            'get_info',
            [
                {},
                {
                    'interfaces': [['ZODB.interfaces', 'IBlobStorage']],
                    'extensions': ['x'],
                    'length': 1,
                    'size': 1.5,
                    'other': object(),
                },
            ],
        ),
        ('register', [None, b'\0' * 8]),
        ('ping', [None, 5]),
        ('undoLog', [[], ({},)]),
        ('new_oids', [[b'1' * 8]]),
    ],
)
def test_what_servers_of_all_releases_answer_is_taken(name, answers):
    for answer in answers:
        assert shapes.answer(name, answer, 'host:1') is answer


OID, TID = b'12345678', b'\x03' * 8


@pytest.mark.parametrize(
    'args',
    [(TID, [OID]), [TID, [OID]], (TID, []), (TID, (OID,)), (TID, [OID, OID]), (TID, [OID], 'more')],
)
def test_an_invalidation_is_a_tid_and_oids(args):
    assert shapes.invalidation(args) == (TID, list(args[1]))


@pytest.mark.parametrize(
    'args',
    [
        (),
        (TID,),
        {TID: [OID]},
        (b'\x80' * 8, [OID]),  # a tid that ZODB cannot increment
        (b'\x80' * 8, [OID, OID]),
        (bytearray(TID), [OID]),
        (TID[1:], [OID]),
        (None, [OID]),
        (TID, [OID[1:]]),
        (TID, [bytearray(OID)]),
        (TID, [None]),
        (TID, ['12345678']),
        (TID, [OID, OID[1:]]),
        (TID, OID),
        (TID, None),
        (TID, {OID: 1}),
    ],
)
def test_anything_else_is_not_an_invalidation(args):
    with pytest.raises(ProtocolError, match='not a tid and oids'):
        shapes.invalidation(args)
