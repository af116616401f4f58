"""What a client may give to a call; the quick look at arguments accepts nothing else."""

import random

import pytest

from ZEO.wire.arguments import KINDS, Arguments
from ZEO.wire.calls import OF_CLIENT

VALUES = [
    None,
    True,
    0,
    5,
    2**64 - 1,
    2**64,
    -(2**64),
    2.5,
    b'',
    b'12345678',
    b'1234567',
    b'1' * 1001,
    '',
    'text',
    '\0' * 8,
    'x' * 1001,
    {},
    [],
    (),
    [b'12345678'],
    [1, 2],
]


def closely(arguments, args):
    return type(args) in (tuple, list) and (
        arguments.needed <= len(args) <= len(arguments.kinds)
        and all(kind.accepts(value) for kind, value in zip(arguments.kinds, args, strict=False))
    )


def accepts(arguments, args):
    try:
        arguments.check(args)
    except ValueError:
        return False
    return True


def accepted_by(kind):
    return [value for value in VALUES if kind.accepts(value)] or VALUES


@pytest.mark.parametrize('row', OF_CLIENT.values(), ids=lambda row: row.name)
def test_the_quick_look_accepts_what_the_close_one_does(row):
    choice = random.Random(row.name)
    for _ in range(3000):
        length = choice.randrange(len(row.arguments.kinds) + 2)
        kinds = [*row.arguments.kinds, *KINDS.values()][:length]
        args = tuple(
            choice.choice(accepted_by(kind) if choice.random() < 0.9 else VALUES) for kind in kinds
        )
        assert accepts(row.arguments, args) == closely(row.arguments, args), args


@pytest.mark.parametrize(
    'name, args',
    [
        ('storea', (b'o' * 8, b's' * 8, b'data', 5)),
        ('tpc_begin', (5, b'user', b'description', {}, None, ' ')),
        ('tpc_begin', (5, b'user', b'description', b'extension', None, ' ')),
        ('vote', (5,)),
        ('tpc_finish', (5,)),
        ('loadBefore', (b'o' * 8, b't' * 8)),
        ('ping', ()),
    ],
)
def test_the_usual_ones_take_no_closer_look(monkeypatch, name, args):
    monkeypatch.setattr(Arguments, '_look_closely', None)
    OF_CLIENT[name].arguments.check(args)
