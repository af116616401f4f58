"""docs/developing/protocol.rst names every message there is, and none that there is not."""

import re
from pathlib import Path

from ZEO.wire import calls, extensions

PAGE = (Path(__file__).parents[2] / 'docs' / 'developing' / 'protocol.rst').read_text(
    encoding='utf-8'
)
NAMED = set(re.findall(r'``(\w+)``', PAGE))


def test_every_message_is_named():
    assert set(calls.OF_CLIENT) | calls.OF_SERVER <= NAMED


def test_every_extension_is_named():
    assert set(extensions.ALL) <= NAMED


def test_nothing_else_is():
    others = {'get_channel_binding', 'Z5', 'M5', 'ruok', 'length', 'size', 'extensions', 'packed'}
    others |= {extensions.ROLE, extensions.REPLICA, extensions.PRIMARY}
    others |= {extensions.FOLLOWS, extensions.WHOLE, extensions.CHAIN}
    assert NAMED - set(calls.OF_CLIENT) - calls.OF_SERVER - set(extensions.ALL) == others
