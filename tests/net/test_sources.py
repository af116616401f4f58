"""Which connections come from one place."""

import pytest

from ZEO.net.sources import UNIX, is_local, source_of


@pytest.mark.parametrize(
    'address, source, local',
    [
        (('10.0.0.1', 5000), '10.0.0.1', False),
        (('127.0.0.1', 5000), '127.0.0.1', True),
        (('127.9.9.9', 1), '127.9.9.9', True),
        (('::1', 5000, 0, 0), '::/64', True),
        (('::ffff:10.0.0.1', 5000, 0, 0), '10.0.0.1', False),
        (('2001:db8:1:2:aaaa::5', 5000, 0, 0), '2001:db8:1:2::/64', False),
        (('fe80::1%eth0', 5000, 0, 2), 'fe80::/64', False),
        ('', UNIX, True),
        ('/run/zeo.sock', UNIX, True),
        (None, UNIX, True),
        (('some-host', 1), 'some-host', False),
    ],
)
def test_sources(address, source, local):
    assert source_of(address) == source
    assert is_local(address) is local
