"""All of ZODB's storage tests with messages packed by msgpack."""

import pytest

from support import kinds, sets

pytest.importorskip('msgpack')


class TestMsgpack(sets.Everything):
    """A FileStorage, protocol M5."""

    kind = kinds.FILE_TRANSFERRED_BLOBS
    server_options = {'msgpack': True}
