"""A chain of commits has no hole, whenever one of them fails."""

import pytest
from ZODB.POSException import StorageTransactionError

from ZEO.serving.calls.chained import Chain, Steps
from ZEO.serving.later import Later


@pytest.fixture
def chain():
    """A chain whose votes and ends come when the test says so."""
    votes, ends, aborted = {}, {}, []
    chain = Chain(
        Steps(
            lambda number: votes.setdefault(number, Later()),
            lambda number: ends.setdefault(number, Later()),
            aborted.append,
        )
    )
    chain.votes, chain.ends, chain.aborted = votes, ends, aborted
    return chain


def outcome(later):
    found = []
    later.then(found.append, found.append)
    return found


def test_one_that_fails_at_its_end_takes_those_with_it_that_were_voted_on_meanwhile(chain):
    answers = [outcome(chain.add(1, None)), outcome(chain.add(2, 1)), outcome(chain.add(3, 2))]
    chain.votes[1].answer([])
    assert list(chain.votes) == [1, 2]  # while the first one comes to its end
    lost = OSError('the disk is full')
    chain.ends[1].fail(lost)
    chain.votes[2].answer([])
    assert answers[0] == [lost] and list(chain.ends) == [1] and chain.aborted == [2, 3]
    assert [type(found[0]) for found in answers[1:]] == [StorageTransactionError] * 2


def test_the_next_is_written_while_the_disk_is_waited_for(chain):
    answers = [outcome(chain.add(1, None)), outcome(chain.add(2, 1))]
    chain.votes[1].answer([])
    chain.votes[2].answer([])
    chain.ends[1].answer(b'tid 1')
    chain.ends[2].answer(b'tid 2')
    assert answers == [[b'tid 1'], [b'tid 2']] and chain.aborted == []
