"""A server that refuses what it is given leaves nothing open."""

import os

import pytest
from ZODB.MappingStorage import MappingStorage

from ZEO.Exceptions import ConfigurationError
from ZEO.net import last_lines
from ZEO.StorageServer import StorageServer

WRONG = {
    'an option of followers': {'replica_timeout_action': 'wait'},
    'a number of followers': {'fence': -1},
    'when to read ahead': {'read_ahead': 'sometimes'},
    'a storage': {'storages': {'1': object()}},
    'an address': {'addr': '/missing/directory/s'},
}


def opened():
    """What this process has open, and who listens to its log."""
    return len(os.listdir('/proc/self/fd')), len(last_lines._HANDLER._listening)


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs /proc')
@pytest.mark.parametrize('wrong', WRONG.values(), ids=list(WRONG))
def test_a_constructor_that_fails_closes_what_it_has_opened(tmp_path, wrong):
    given = {'addr': str(tmp_path / 's'), 'storages': {'1': MappingStorage()}, **wrong}
    before = opened()
    with pytest.raises(ConfigurationError) as caught:
        StorageServer(**given)
    assert opened() == before
    del caught  # whose traceback has kept everything alive
