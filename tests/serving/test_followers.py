"""Followers by their connections: what they say that they have, and what a number of them has."""

import pytest
from ZODB.utils import p64, z64

from ZEO.Exceptions import ProtocolError
from ZEO.net.loop import Loop
from ZEO.serving.followers import Followers


class Connection:
    address = 'somewhere'

    def report(self, *line):
        """Take note of nothing."""


@pytest.fixture
def followers():
    loop = Loop()
    yield Followers('1', loop)
    loop.close()


def joined(followers, label='', counts=True):
    connection = Connection()
    followers.join(connection, label, counts)
    return connection


def test_the_transaction_that_a_number_has_is_the_last_one_of_the_slowest_of_these(followers):
    one, two = joined(followers), joined(followers)
    followers.acknowledge(one, p64(7), p64(9))
    followers.acknowledge(two, p64(5), p64(9))
    assert [followers.have(number) for number in (1, 2, 3)] == [p64(7), p64(5), z64]
    followers.left(one)
    assert followers.have(1) == p64(5)


def test_one_that_does_not_count_is_listed_only(followers):
    reader = joined(followers, 'reader', counts=False)
    followers.acknowledge(reader, p64(7), p64(9))
    assert followers.have(1) == z64
    (entry,) = followers.report(p64(9), lambda tid: 2)
    assert (entry['label'], entry['counts'], entry['replicated']) == ('reader', False, p64(7).hex())
    assert entry['lag-transactions'] == 2


def test_an_older_acknowledgement_changes_nothing(followers):
    one, calls = joined(followers), []
    followers.watchers.append(lambda: calls.append(followers.have(1)))
    for number in (7, 5, 7, 8):
        followers.acknowledge(one, p64(number), p64(9))
    assert calls == [p64(7), p64(8)]


def test_what_there_is_not_cannot_be_acknowledged(followers):
    one = joined(followers)
    with pytest.raises(ProtocolError, match='the last one is'):
        followers.acknowledge(one, p64(10), p64(9))
    with pytest.raises(ProtocolError, match='before follow'):
        followers.acknowledge(Connection(), p64(1), p64(9))
