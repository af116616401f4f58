"""A client that connects again and again keeps nothing of its earlier connections."""

import gc
import os
import threading
from collections import Counter

import pytest
import ZODB
from ZODB.MappingStorage import MappingStorage

from support.inside import link_of
from support.processes import wait_until

#: Connections after which there is one of everything that there will be.
FIRST = 10

#: Connections that must not leave anything; fewer than this of a kind may be on their way out.
MORE = 40


def objects():
    """How many there are of each class of a client, of descriptors, and of threads."""
    gc.collect()
    found = Counter(
        type(one).__qualname__
        for one in gc.get_objects()
        if str(type(one).__module__).startswith(
            ('ZEO.link', 'ZEO.net.stream', 'ZEO.wire', 'ZODB.mvccadapter')
        )
    )
    found['descriptors'] = len(os.listdir('/proc/self/fd'))
    found['threads'] = threading.active_count()
    return found


def connect_again(client):
    lost = link_of(client).connection
    lost.lose('a test')
    wait_until(lambda: link_of(client).connection not in (None, lost))


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs /proc')
@pytest.mark.parametrize('options', [{}, {'prefer': 'nearest'}, {'client': 'one'}])
def test_a_client_that_connects_again_and_again_grows_by_nothing(
    serving, clients, options, tmp_path
):
    server = serving(MappingStorage())
    database = ZODB.DB(clients(server.addr, var=str(tmp_path), **options))
    for number in range(FIRST + MORE):
        if number == FIRST:
            before = objects()
        connect_again(database.storage)
        with database.transaction() as connection:
            connection.root()['number'] = number
    wait_until(lambda: not grown(before), 10)
    database.close()


def grown(before):
    """What there is more of, apart from a few that are on their way out."""
    more = objects() - before
    return {name: count for name, count in more.items() if count >= MORE // 4}
