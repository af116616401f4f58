"""What a server keeps in memory to guess what its clients ask for next: not their records."""

from ZODB.utils import maxtid, z64

from support.scripted import oid

MB = 2**20


def test_records_in_which_no_class_is_found_are_not_kept(server):
    """As those that are compressed: no line of their beginning names a class."""
    server.serve(read_ahead='always')
    client = server.client()
    client.tell('set_client_label', 'reader\nrecords_ahead')
    for number in range(8):
        stores = [
            (oid(100 + 20 * number + place), z64, b'%20d' % (number * 20 + place) + b'x' * MB)
            for place in range(20)
        ]
        client.commit(number, *stores)
    client.call('loadBefore', oid(100), maxtid)
    before = server.memory()
    for number in range(160):
        assert client.call('loadBefore', oid(100 + number), maxtid)
    assert server.memory() < before + 40 * MB
