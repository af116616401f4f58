"""How long a client waits between two rounds of connecting."""

import pytest
import ZODB.config

from support.inside import link_of
from ZEO.link import options
from ZEO.link.options import FIRST_PAUSE, LAST_PAUSE


@pytest.mark.parametrize(
    'given, pauses',
    [
        ((None, None, None), (FIRST_PAUSE, LAST_PAUSE)),
        ((5, 300, None), (FIRST_PAUSE, LAST_PAUSE)),  # <zeoclient> without a word about it
        ((1, 300, None), (1, 300)),
        ((5, 60, None), (5, 60)),
        ((None, 0.01, None), (0.01, 0.01)),
        ((None, None, 2), (2, 2)),
    ],
)
def test_pauses(given, pauses):
    assert options.pauses(*given) == pauses


def test_a_zeoclient_section_that_says_nothing_connects_again_soon(tmp_path):
    """ZODB's section passes 5 and 300 seconds by default: these must not be taken at their word."""
    storage = ZODB.config.storageFromString(
        f'<zeoclient>\nserver {tmp_path}/none\nwait off\n</zeoclient>'
    )
    try:
        assert link_of(storage)._pauses == (FIRST_PAUSE, LAST_PAUSE)
    finally:
        storage.close()
