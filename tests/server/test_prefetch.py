"""Many large objects that are asked for at once come in bounded answers, and cost the others
little.
"""

import pytest
from ZODB.utils import maxtid, p64, z64

from support.inside import channel_of, unsent
from ZEO.serving.limits import Limits

SIZE = 100_000


def oids_of(service, number, size=SIZE):
    """Commit some objects; return their oids."""
    client = service.client()
    found = [p64(10**6 + one) for one in range(number)]
    for first in range(0, number, 100):
        client.commit(
            first + 1, *[(oid, z64, oid * (size // 8)) for oid in found[first : first + 100]]
        )
    client.close()
    return found


def test_an_answer_is_bounded_and_says_how_far_it_goes(service):
    oids = oids_of(service, 40)
    client = service.client()
    answer = client.call('load_many', oids, maxtid)
    assert 1 <= len(answer) <= Limits().batch // SIZE + 1
    assert [data[:8] for data, _, _ in answer] == oids[: len(answer)]
    assert client.call('load_many', [oids[0]] * 1000, maxtid)[0] == answer[0]
    assert client.call('load_many', [p64(5), p64(6)], maxtid)[:1] == [None]
    assert client.call('load_many', [], maxtid) == []
    with pytest.raises(LookupError, match='at most 1000'):
        client.call('load_many', [oids[0]] * 1001, maxtid)


def test_what_waits_for_a_client_that_asks_and_does_not_read_is_bounded(serve):
    bound = 1_000_000
    service = serve(limits=Limits(output_buffer=bound))
    (oid,) = oids_of(service, 1, 1_000_000)
    client = service.client(receive_buffer=4096)
    for _ in range(30):
        client.ask('load_many', [oid] * 50, maxtid)
    for _ in range(20):
        service.good.ping()
        assert sum(unsent(channel_of(peer)) for peer in service.hosted.peers) < bound + 2_100_000
    assert service.hosted.status()['loads'] < 20
