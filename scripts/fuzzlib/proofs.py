"""Clients that prove a password wrongly, before they register.

Enters: a source of randomness. Leaves: the calls that they make. Fails: never.
"""

from __future__ import annotations

import random
from base64 import b64encode
from typing import Any

Call = tuple[str, tuple[Any, ...]]


def calls(rng: random.Random) -> list[Call]:
    """Return what one client calls: usually both steps, and then register."""
    made = [('scram_first', (first(rng),)), ('scram_final', (final(rng),))]
    made.append(('register', ('1', rng.random() < 0.5)))
    if rng.random() < 0.4:
        rng.shuffle(made)
    if rng.random() < 0.3:
        made += rng.choices(made, k=2)
    if rng.random() < 0.3:
        del made[rng.randrange(len(made))]
    return made


def first(rng: random.Random) -> str:
    """Return a first text, in most of which one thing is wrong."""
    header = rng.choice(('n,,', 'n,,', 'n,,', 'y,,', 'p=tls-finished,,', 'n,a=x,', ''))
    name = rng.choice(('app', 'nobody', '', 'a=2Cb', 'a=zz', 'x' * 400, '\0', '\udc80', 'é'))
    nonce = rng.choice(('n' * 24, 'n' * 24, '', 'n,n', 'n' * 1000))
    return damaged(rng, f'{header}n={name},r={nonce}')


def final(rng: random.Random) -> str:
    """Return a second text; none is right."""
    proof = b64encode(rng.randbytes(rng.choice((32, 32, 32, 0, 31, 600)))).decode('ascii')
    bound = rng.choice(('biws', 'biws', '', 'AAAA', '****'))
    return damaged(rng, f'c={bound},r={"n" * rng.choice((24, 48, 0))},p={proof}')


def damaged(rng: random.Random, text: str) -> str:
    """Return the text, or one like it."""
    if rng.random() < 0.7:
        return text
    at = rng.randrange(len(text) + 1)
    return (
        text[:at] + rng.choice(('', ',', '=', '\n', '\0', 'é', '\U0001f600', ',' * 990)) + text[at:]
    )
