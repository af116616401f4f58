"""Messages are looked at before they are decoded: honest ones pass, whatever their size; those made
to hurt are refused.
"""

import os
import struct
import time

import msgpack
import pytest

from ZEO.Exceptions import ProtocolError
from ZEO.wire import checks, messages
from ZEO.wire.checks import FIRST_PARTS, MAX_PARTS
from ZEO.wire.key_checks import MAX_ODD_KEYS

COLLIDING = 2**61 - 1
OID = b'\0' * 7 + b'\1'


@pytest.fixture(params=[b'Z5', b'M5'], ids=['Z5', 'M5'])
def codec(request):
    return messages.codec(request.param)


def args_of(message):
    return message[3]


REQUESTS = {
    'load_many': ('load_many', ([os.urandom(8) for _ in range(1000)], OID)),
    'a large record': ('restorea', (OID, OID, os.urandom(10 * 2**20), None, 5)),
    'a chunk of a blob': ('storeBlobChunk', (os.urandom(59_000),)),
    'ids of iterators': ('iterator_gc', (list(range(5000)),)),
    'an extension': (
        'tpc_begin',
        (
            1,
            b'',
            b'',
            {f'key {n}': ['text', n, {'inner': (1, 2.5)}, b'x' * 50] for n in range(500)},
            None,
            ' ',
        ),
    ),
    'a filter': ('undoInfo', (0, -20, {'user_name': b'x' * 2000})),
    'a record of two-byte opcodes': ('storea', (OID, OID, b'K\0' * 500_000, 7)),
    'a record of brackets': ('restorea', (OID, OID, b']}\x85\x90\xdd\xff' * 100_000, None, 7)),
}


@pytest.mark.parametrize('request_', REQUESTS.values(), ids=REQUESTS)
def test_an_honest_request_passes(codec, request_):
    name, args = request_
    for data in (codec.call(5, name, args), bytearray(codec.call(5, name, args))):
        found = args_of(codec.decode_request(data))
        assert msgpack.packb(found) == msgpack.packb(args)


ANSWERS = {
    'a million oids': (OID, [struct.pack('>Q', n) for n in range(1_000_000)]),
    'an undo log': [
        {
            'id': b'%012d' % n,
            'time': 1e9 + n,
            'user_name': b'me',
            'size': n,
            'description': b'what was done' * 5,
            'key': ['a', {'b': (n, None)}],
        }
        for n in range(20_000)
    ],
    'a batch': (
        [((OID, ' ', b'', b'', b'x' * 100), [(OID, OID, b'd' * 300, None)] * 10, True)] * 1000,
        False,
    ),
    'records': [(os.urandom(2000), OID, None) for _ in range(1000)],
    'a large record': (os.urandom(20 * 2**20), OID, OID),
    'conflicts': [{'oid': OID, 'serials': (OID, OID), 'data': os.urandom(3000)}] * 50,
    'numbers for keys': [dict.fromkeys(range(5000)), {-n: None for n in range(5000)}],
}


@pytest.mark.parametrize('answer', ANSWERS.values(), ids=ANSWERS)
def test_an_honest_answer_passes(codec, answer):
    for data in (codec.reply(5, answer), bytearray(codec.reply(5, answer))):
        assert msgpack.packb(args_of(codec.decode(data))) == msgpack.packb(answer)


#: Lengths of records on both sides of those that take another opcode, or another number of bytes
#: for the length.
SIZES = (0, 1, 8, 31, 32, 255, 256, 300, 65_535, 65_536, 300, None, 300, 20, 300)


def records_of(sizes):
    return [(OID, OID, None if size is None else b'N' * size, None) for size in sizes]


def test_a_batch_of_records_of_all_sizes_passes(codec):
    batch = [
        ((OID, ' ', b'', b'', b''), records_of(SIZES[first:] + SIZES), True)
        for first in range(len(SIZES))
    ]
    for batch_ in (
        batch,
        [((OID, ' ', b'', b'', b''), [(*record[:3], OID) for record in records_of(SIZES)], False)],
    ):
        assert msgpack.packb(
            args_of(codec.decode(codec.reply(5, (batch_, False))))
        ) == msgpack.packb((batch_, False))


@pytest.mark.parametrize(
    'sizes', [(300,), (300, 300, 20), (20, 300, 20, 20), (300, 65_536), (300, None)]
)
def test_what_is_hidden_behind_records_is_found(codec, sizes):
    hurt = {
        b'Z5': [
            b'\x8f',
            b'Nr' + (2**27).to_bytes(4, 'little'),
            b'h\0',
            b'2',
            b'})' + b'\x85' * 900 + b'Ns',
        ],
        b'M5': [b'\xdd\xff\xff\xff\xff', b'\xdf\xff\xff\xff\xff', b'\xc7\x08\5' + b'x' * 8],
    }[codec.name]
    place = {b'Z5': b'C\x05place', b'M5': b'\xc4\x05place'}[codec.name]
    loaded = [(record[2], OID, None) for record in records_of(sizes)]
    for records in (records_of(sizes), loaded):
        data = codec.reply(5, ([*records, b'place', *records_of((2000,))], False))
        assert data.count(place) == 1
        for opcodes in hurt:
            with pytest.raises(ProtocolError, match='^a message'):
                codec.decode(data.replace(place, opcodes))


def test_an_invalidation_of_a_million_objects_passes(codec):
    oids = [struct.pack('>Q', n) for n in range(1_000_000)]
    assert (
        len(args_of(codec.decode(codec.send('invalidateTransaction', (OID, oids))))[1]) == 1_000_000
    )


def pickled(opcodes):
    return b'\x80\x03(K\1\x89X\4\0\0\0ping(' + opcodes + b'tt.'


def packed(data):
    return b'\x94\x01\xc2\xa4ping\x91' + data


def colliding(make, count):
    return b''.join(make(n * COLLIDING) for n in range(1, count))


def long_(number):
    return b'\x8a\x0a' + number.to_bytes(10, 'little')


#: What is only too much for a request.
MANY = {'dictionaries', 'lists', 'tuples', 'maps', 'arrays'}

#: Bytes that both sides refuse.
HURT = {
    'Z5': {
        'sets': pickled(b'\x8f' * 2_000_000),
        'dictionaries': pickled(b'}' * 2_000_000),
        'lists': pickled(b']' * 2_000_000),
        'tuples': pickled(b')\x85' * 1_000_000),
        'keys': pickled(b'}(' + colliding(lambda n: long_(n) + b'N', 5000) + b'u'),
        'keys of DICT': pickled(b'(' + colliding(lambda n: long_(n) + b'N', 5000) + b'd'),
        'keys one by one': pickled(b'}' + colliding(lambda n: long_(n) + b'Ns', 5000)),
        'items': pickled(b'\x8f(' + colliding(long_, 5000) + b'\x90'),
        'items of a frozen set': pickled(b'(' + colliding(long_, 5000) + b'\x91'),
        'items of a set that is made': pickled(
            b'cbuiltins\nset\n](' + colliding(long_, 5000) + b'e\x85R'
        ),
        'items of a frozen set that is made': pickled(
            b'cbuiltins\nfrozenset\n](' + colliding(long_, 5000) + b'e\x85R'
        ),
        'a dictionary that is made': pickled(
            b'cbuiltins\ndict\n](' + colliding(lambda n: long_(n) + b'N\x86', 900) + b'e\x85R'
        ),
        'a dictionary that is new': pickled(
            b'cbuiltins\ndict\n](' + colliding(lambda n: long_(n) + b'N\x86', 900) + b'e\x85\x81'
        ),
        'a deep key': pickled(b'})' + b'\x85' * 500_000 + b'Ns'),
        'a deep key of 900': pickled(b'})' + b'\x85' * 900 + b'N' * 999 + b's'),
        'a memo': pickled(b'Nr' + (2**27).to_bytes(4, 'little')),
        'a memo of its size': pickled(b'C\0' * 600_000 + b'Nr\0\0\x10\0'),
        'the same again': pickled(b']q\0' + b'h\0a' * 1000),
    },
    'M5': {
        'maps': packed(b'\xdd' + struct.pack('>I', 2_000_000) + b'\x80' * 2_000_000),
        'arrays': packed(b'\xdd' + struct.pack('>I', 2_000_000) + b'\x90' * 2_000_000),
        'announced': packed((b'\xdd' + struct.pack('>I', 900_000)) * 900 + b'\xc0' * 900_000),
        'keys': packed(
            b'\xde'
            + struct.pack('>H', 5000)
            + b''.join(b'\x92\xcf' + struct.pack('>Q', n) + b'\xc0\xc0' for n in range(5000))
        ),
        'long keys': packed(
            b'\xde'
            + struct.pack('>H', 5000)
            + b''.join(b'\xcf' + struct.pack('>Q', 2**63 + n) + b'\xc0' for n in range(5000))
        ),
        'deep': packed(b'\x91' * 500_000),
        'an extension type': packed(b'\xc7\xff\5' + b'x' * 2000),
        'a text beyond the end': packed(b'\xdb\xff\xff\xff\xff' + b'x' * 2000),
    },
}


@pytest.mark.parametrize(('name', 'what'), [(name, what) for name in HURT for what in HURT[name]])
def test_what_is_made_to_hurt_is_refused(name, what):
    codec, data = messages.codec(name.encode()), HURT[name][what]
    began = time.process_time()
    for decode in (codec.decode_request, codec.decode_first):
        with pytest.raises(ProtocolError):
            decode(data)
    if what in MANY:  # an answer may be long: each byte of it takes some bytes of memory
        codec.decode(data)
    else:
        with pytest.raises(ProtocolError):
            codec.decode(data)
    assert time.process_time() - began < 10  # a bound against minutes, not a figure


def test_a_request_of_too_many_parts(codec):
    codec.decode_request(codec.call(1, 'ping', ([7] * (MAX_PARTS - 100),)))
    for items in ([7] * (MAX_PARTS + 1), [OID] * (MAX_PARTS + 1), ['text'] * (MAX_PARTS + 1)):
        with pytest.raises(ProtocolError):
            codec.decode_request(codec.call(1, 'ping', (items,)))
    codec.most_parts = 2000
    with pytest.raises(ProtocolError):
        codec.decode_request(codec.call(1, 'ping', ([7] * 2001,)))


def test_some_odd_keys_pass(codec):
    value = {number * 2.0**40: 'x' * 20 for number in range(MAX_ODD_KEYS)}
    assert args_of(codec.decode_request(codec.call(1, 'ping', (value,)))) == (value,)
    with pytest.raises(ProtocolError, match='keys'):
        codec.decode_request(codec.call(1, 'ping', (value, {0.5: None})))


@pytest.mark.parametrize('args', [({},), ('1', {'a': 1}), ([{}],), ([7] * FIRST_PARTS,)])
def test_before_register_there_are_no_dictionaries_and_few_parts(codec, args):
    with pytest.raises(ProtocolError):
        codec.decode_first(codec.call(1, 'register', args))


@pytest.mark.parametrize(
    'data', [b'\x80\x04\x8f.', b'\x80\x04(\x91.', b'\x80\x03(d.', b'\x80\x03}(u.']
)
def test_before_register_there_are_no_sets_either(data):
    with pytest.raises(ProtocolError, match='do not belong there'):
        checks.check_first(data)


def test_a_registration_passes(codec):
    for args in (('1', False), ('a name ' * 100, True, 'user', b'password')):
        assert args_of(codec.decode_first(codec.call((OID, OID), 'register', args))) == args
