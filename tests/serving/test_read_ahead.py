"""A server sends a client what it will ask for next, in bounds, and stops when it is not used."""

import random
import threading
import time
from types import SimpleNamespace
from zlib import compress

import pytest
import transaction
import ZODB
from BTrees.IOBTree import IOBTree
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, u64, z64

from support.clock import Clock
from support.scripted import RawClient
from ZEO.Exceptions import ConfigurationError
from ZEO.serving.read_ahead.ahead import Ahead
from ZEO.serving.read_ahead.candidates import Candidates, Group
from ZEO.serving.read_ahead.figures import Figures
from ZEO.serving.read_ahead.guesses import Guesses
from ZEO.serving.read_ahead.kinds import Kind, Kinds
from ZEO.serving.read_ahead.learnt import Learnt
from ZEO.serving.read_ahead.referrers import Referrers
from ZEO.serving.read_ahead.sent import Sent
from ZEO.serving.read_ahead.shared import SharedAhead
from ZEO.serving.read_ahead.source import LocalSource
from ZEO.serving.read_ahead.window import Window
from ZEO.StorageServer import StorageServer
from ZEO.wire import guarded
from ZEO.wire.likely_references import likely_references
from ZEO.wire.messages import codec

PAGES = 300


@pytest.fixture
def storage():
    """A storage with pages in a BTree, each of which has an object of its own."""
    storage = MappingStorage()
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        connection.root.pages = pages = IOBTree()
        for number in range(PAGES):
            pages[number] = page = PersistentMapping(text='x' * 300)
            page['more'] = PersistentMapping(number=number)
    return storage


def walk(client):
    """Look at every page; return how many there are."""
    db = ZODB.DB(client)
    with db.transaction() as connection:
        return sum(page['more']['number'] == n for n, page in connection.root.pages.items())


@pytest.fixture
def open_client(storage, serving, clients):
    def open_client(read_ahead='always', takes=True):
        server = serving(storage, read_ahead=read_ahead)
        return clients(server.addr, read_ahead=takes), server.hosted['1']

    return open_client


def test_a_walk_takes_a_fifth_of_the_loads(open_client):
    client, hosted = open_client()
    assert walk(client) == PAGES
    figures = hosted.status()['read-ahead']
    assert hosted.status()['loads'] < 2 * PAGES / 5
    assert figures['sent'] >= figures['used'] > PAGES and figures['clients'] == 1
    assert state(client).taken > PAGES


def state(client):
    return client._state.ahead


@pytest.mark.parametrize(
    'read_ahead, options', [('off', {}), ('network', {}), ('always', {'takes': False})]
)
def test_nothing_is_sent_where_it_is_switched_off_or_over_a_unix_socket(
    open_client, read_ahead, options
):
    client, hosted = open_client(read_ahead, **options)
    assert walk(client) == PAGES
    assert hosted.status()['read-ahead']['sent'] == 0
    assert hosted.status()['loads'] > 2 * PAGES


def test_clients_over_a_network_have_it_by_default(storage, serving, clients):
    server = serving(storage, ('127.0.0.1', 0))
    assert walk(clients(server.addr)) == PAGES
    assert server.hosted['1'].status()['read-ahead']['used'] > PAGES


def test_another_value_is_an_error(storage, sockets):
    with pytest.raises(ConfigurationError, match="read_ahead is 'yes': give one of network, "):
        StorageServer(sockets(), {'1': storage}, read_ahead='yes')


def test_a_client_that_reads_while_others_commit_sees_every_change(open_client, clients):
    client, _ = open_client()
    db = ZODB.DB(client)
    other = ZODB.DB(clients(client._server.addresses[0]))
    choose = random.Random(5)
    for turn in range(6):
        with other.transaction() as connection:
            page = connection.root.pages[choose.randrange(PAGES)]
            page['more']['number'] = page['text'] = f'turn {turn}'
        db.cacheMinimize()
        client._cache.clear()
        transaction.begin()
        client.ping()
        connection = db.open()
        texts = {page['text'] for page in connection.root.pages.values()}
        assert f'turn {turn}' in texts
        connection.close()


def test_blobs_and_iteration_find_the_same_as_the_walk_beside_them(serving, clients, tmp_path):
    served, own = tmp_path / 'on-server', tmp_path / 'of-client'
    storage = FileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(served))
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        connection.root.pages = pages = IOBTree()
        for number in range(80):
            pages[number] = Blob(b'blob %d' % number)
    client = clients(serving(storage, read_ahead='always').addr, blob_dir=str(own))
    records = {}
    iterating = threading.Thread(
        target=lambda: records.update((r.oid, r.data) for txn in client.iterator() for r in txn)
    )
    iterating.start()
    read = {}
    with ZODB.DB(client).transaction() as connection:
        for number, blob in connection.root.pages.items():
            with blob.open() as file:
                read[number] = file.read()
            assert client.loadBefore(blob._p_oid, maxtid)[1] == blob._p_serial
    iterating.join(30)
    assert read == {number: b'blob %d' % number for number in range(80)}
    assert client.read_ahead_status()['used'] > 40
    assert records == {oid: client.loadBefore(oid, maxtid)[0] for oid in records}


# A client that does nothing by itself.


class Reader:
    """Takes records ahead; says what it has used when the test does."""

    def __init__(self, server):
        self.raw = RawClient(server.addr)
        self.raw.tell('set_client_label', 'reader\nrecords_ahead')
        self.sent = {}
        self.named = set()
        self.bytes = 0

    def load(self, oid):
        """Load an object, and take all that comes."""
        number = self.raw.ask('loadBefore', oid, maxtid)
        end = self.raw.ask('ping')
        while True:
            message_id, _, name, args = self.raw.next()
            if name == 'readAhead':
                self._take(*args)
            elif message_id == end:
                if not self.named:
                    return
                end = self.raw.ask('ping')
            else:
                assert message_id == number or name in ('info', 'invalidateTransaction')

    def _take(self, records, following):
        for oid, data, _ in records:
            self.named.discard(oid)
            if data:
                assert oid not in self.sent
                self.sent[oid] = data
                self.bytes += len(data)
        self.named.update(following)


@pytest.fixture
def reader(storage, serving):
    made = []

    def make():
        server = serving(storage, read_ahead='always')
        made.append(Reader(server))
        return made[-1], server.hosted['1']

    yield make
    for one in made:
        one.raw.close()


def oids_of(storage):
    return sorted({record.oid for txn in storage.iterator() for record in txn})


def test_nothing_is_sent_twice(reader, storage):
    one, _ = reader()
    for oid in oids_of(storage)[:100]:
        if oid not in one.sent:
            one.load(oid)
    assert one.sent


def test_what_has_changed_is_sent_again(reader, storage, metadata):
    one, hosted = reader()
    one.load(z64)
    changed = next(iter(one.sent))
    client = RawClient(one.raw.stream.getpeername())
    found = client.call('loadBefore', changed, maxtid)
    client.commit(1, (changed, found[1], found[0]))
    client.close()
    del one.sent[changed]
    one.load(z64)
    assert changed in one.sent


def test_a_client_that_uses_nothing_is_sent_no_more_after_a_while(reader):
    one, hosted = reader()
    for _ in range(200):  # as if it had lost all that it was sent
        one.sent.clear()
        one.load(z64)
    figures = hosted.status()['read-ahead']
    assert figures['stopped'] == 1 and figures['used'] == 0 < figures['wasted']
    assert one.bytes < 400_000
    one.sent.clear()
    one.load(z64)
    assert not one.sent


def test_what_a_client_says_of_records_that_it_was_not_sent_changes_nothing(reader, storage):
    one, hosted = reader()
    for _ in range(20):
        one.raw.tell('used_ahead', [p64(number) for number in range(1000)])
    one.load(z64)
    for _ in range(20):
        one.raw.tell('used_ahead', list(one.sent) * 5)
    one.raw.call('ping')
    figures = hosted.status()['read-ahead']
    assert figures['used'] <= figures['sent'] <= len(oids_of(storage))


def test_a_plain_client_is_sent_nothing(storage, serving):
    server = serving(storage, read_ahead='always')
    plain = RawClient(server.addr)
    number = plain.ask('loadBefore', z64, maxtid)
    end = plain.ask('ping')
    assert [plain.next()[0] for _ in range(2)] == [number, end]
    plain.tell('used_ahead', [z64])
    plain.call('ping')
    plain.close()


def test_large_records_and_missing_objects_are_not_sent_but_named_ones_are_followed_up(serving):
    storage = MappingStorage()
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        for name in 'abc':
            connection.root()[name] = PersistentMapping(text='x' * (100_000 if name == 'b' else 9))
    server = serving(storage, read_ahead='always')
    one = Reader(server)
    one.load(z64)
    assert len(one.sent) == 2 and not one.named
    one.raw.close()


def test_a_record_that_is_too_large_for_a_guess_is_looked_into(serving):
    storage = MappingStorage()
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        connection.root.large = large = PersistentMapping(text='x' * 5000)
        large['next'] = PersistentMapping()
    one = Reader(serving(storage, read_ahead='always'))
    one.load(z64)
    assert large._p_oid not in one.sent and large['next']._p_oid in one.sent
    one.raw.close()


# Its parts.


def test_the_fast_search_finds_what_the_careful_one_finds(storage):
    for txn in storage.iterator():
        for record in txn:
            careful = list(dict.fromkeys(guarded.references(record.data)))
            assert likely_references(record.data) == careful


def test_the_search_is_bounded_and_never_fails():
    choose = random.Random(3)
    for _ in range(200):
        likely_references(choose.randbytes(choose.randrange(500)))
    for hostile in (b'\x08aaaaaaaac' * 100_000, b'.z' + b'x' * 50, b'\x08' * 10**6):
        begin = time.thread_time()
        likely_references(hostile)
        assert time.thread_time() - begin < 5  # milliseconds, in truth


def test_a_client_has_a_bounded_memory_of_what_it_was_sent():
    sent = Sent()
    assert not sent.add(p64(5)) and sent.add(p64(5)) and p64(5) in sent and p64(6) not in sent
    sent.discard([p64(5), p64(10**9)])
    assert p64(5) not in sent
    for number in range(1000):
        sent.add(p64(number * 4096))
    assert len(sent) <= 32 * 1024
    assert p64(999 * 4096) in sent and p64(4096) not in sent
    sent.forget_near(p64(999 * 4096 + 1))
    assert p64(999 * 4096) not in sent


def test_the_table_of_what_follows_is_bounded_and_keeps_the_last():
    learnt = Learnt(10)
    for following in (1, 2, 3, 3, 4, 5, 5, 6, 6, 7):
        learnt.learn(p64(0), p64(following))
    assert [u64(oid) for oid in learnt.after(p64(0))] == [6, 5]
    for number in range(1, 100):
        learnt.learn(p64(number), p64(number + 1))
    assert len(learnt) <= 20 and learnt.after(p64(0)) == ()


def test_the_way_of_an_earlier_time_is_bounded_and_ends_where_it_began():
    learnt = Learnt(10)
    for number in range(5):
        assert not learnt.learn(p64(number), p64((number + 1) % 5))
    assert [u64(oid) for oid in learnt.way(p64(0), 3)] == [1, 2, 3]
    assert [u64(oid) for oid in learnt.way(p64(0), 64)] == [1, 2, 3, 4, 0]
    assert learnt.learn(p64(4), p64(0)) and learnt.way(p64(9), 3) == []


def test_what_refers_to_an_object_is_known_of_the_last_ones_only():
    referrers = Referrers(10)
    for number in range(100):
        referrers.learn(p64(number), [p64(1000 + number), p64(2000 + number)])
        assert len(referrers) <= 22
    assert referrers.of(p64(2099)) == p64(99) and referrers.of(p64(1000)) is None


def test_the_next_bucket_is_taken_for_a_part_of_its_tree_where_that_is_known():
    referrers = Referrers(10)
    referrers.learn(p64(1), [p64(11), p64(12), p64(13)])
    referrers.learn(p64(11), [p64(12)])
    referrers.learn(p64(13), [p64(14)])
    assert [u64(referrers.of(p64(number))) for number in (12, 14)] == [1, 13]
    referrers.learn(p64(2), [p64(number) for number in range(100, 110)])
    referrers.learn(p64(11), [p64(12)])  # the first table is the older now
    assert u64(referrers.of(p64(12))) == 1


def test_objects_of_a_class_that_lead_to_little_are_followed_less():
    kinds = Kinds()
    good, bad = kinds.of(b'\x80\x03cone\nGood\nq\x01.'), kinds.of(b'\x80\x03cone\nBad\nq\x01.')
    for _ in range(300):
        good.known()
        good.used()
        bad.known()
    assert (good.most(16), bad.most(16)) == (16, 1)
    assert kinds.of(b'\x80\x03cone\nBad\nq\x01.and its state') is bad
    for number in range(3000):
        kinds.of(b'cone\nClass%d\n' % number)
    assert len(kinds) <= 1024


def test_compressed_records_are_of_the_kinds_of_what_they_hold():
    kinds, state = Kinds(), random.Random(1).randbytes(5000)
    one = kinds.of(b'\x80\x03cone\nGood\nq\x01.')
    other = kinds.of(b'.z' + compress(b'\x80\x03cone\nBad\nq\x01.' + state))
    assert kinds.of(b'.z' + compress(b'\x80\x03cone\nGood\nq\x01.' + state)) is one is not other


def test_records_that_do_not_begin_with_a_class_are_of_one_kind():
    kinds = Kinds()
    for data in b'', b'x' * 5000, b'one line\n' + b'x' * 5000, b'.z\nnot compressed\n':
        assert kinds.of(data) is kinds.of(b'.')
    assert len(kinds) == 1


def test_objects_beside_two_that_are_asked_for_are_likely_long_after_their_folder(storage):
    folder = next(oid for oid in oids_of(storage) if len(references(storage, oid)) > 25)
    pages = references(storage, folder)
    guesses = Guesses(SharedAhead('always', True), LocalSource(storage.loadBefore), Sent())
    guesses.has(folder, storage.load(folder)[0])
    guesses.step += 100
    guesses.asked(pages[10])
    assert guesses.take(5, 8) == []
    guesses.asked(pages[11])
    assert [oid for oid, _ in guesses.take(5, 8)] == pages[12:17]


def test_nothing_is_looked_for_in_a_record_that_is_made_of_beginnings():
    reference = b'C\x08%bcone\nGood\n\x86Q'
    made = reference % p64(1) + b'\x08' * 3000
    for data in made, made + b'x' * 50_000, b'.z' + compress(made):
        assert likely_references(data) == []
    node = b''.join(reference % p64(number) for number in range(500))
    assert len(likely_references(node)) == 500
    assert likely_references(b'x' * 16_500 + node[:300] + b'\x08' * 3000) == []
    assert likely_references(reference % p64(1) + b'\x08' * 1500) == [p64(1)]


def test_what_the_next_ones_lead_to_is_likely_when_one_was_used_long_after_it_was_sent(storage):
    folder = next(oid for oid in oids_of(storage) if len(references(storage, oid)) > 25)
    pages = references(storage, folder)
    guesses = Guesses(SharedAhead('always', True), LocalSource(storage.loadBefore), Sent())
    guesses.has(folder, storage.load(folder)[0])
    group = guesses.take(6, 8)[0][1]
    guesses.step += 100
    for used, following in (0, [1, 2]), (1, [3]), (3, [4, 5]), (5, []):
        guesses.counts(group)
        guesses.looks_behind(pages[used], group)
        more = {one for number in following for one in references(storage, pages[number])}
        assert {oid for oid, _ in guesses.take_deeper(9, 8)} == more


def test_who_goes_the_way_of_another_is_sent_what_that_one_wanted(storage):
    shared = SharedAhead('always', True)
    for count in 10, 4:
        guesses = Guesses(shared, LocalSource(storage.loadBefore), Sent())
        for number in range(count):
            guesses.wanted(p64(number))
            guesses.goes_on()
    assert [u64(oid) for oid, _ in guesses.take(6, 99)] == [4, 5, 6, 7, 8, 9]


class Slow:
    """Records that take the clock 2 ms each to be read, each with a reference to the next three."""

    def __init__(self, clock):
        self.clock, self.read = clock, []

    def load(self, oid, tid):
        self.clock.time += 0.002
        self.read.append(u64(oid))
        following = (p64(u64(oid) * 3 + number) for number in (1, 2, 3))
        return b''.join(b'C\x08%bcone\nGood\n\x86Q' % one for one in following), p64(1), None


def test_who_says_that_much_was_used_has_all_of_it_counted_and_some_of_it_looked_at():
    clock, shared = Clock(), SharedAhead('always', True)
    storage, due = Slow(clock), []
    here = SimpleNamespace(
        unsent=0, is_closed=False, newest=b'', system=clock, soon=due.append, next_turn=due.append
    )
    here.send = lambda data: None
    parts = LocalSource(storage.load), here, here, codec(b'Z5'), here
    ahead = Ahead(shared, *parts)
    ahead.loaded(p64(0), storage.load(p64(0), maxtid))
    while due and shared.figures.sent < 30:
        due.pop(0)()
    sent = storage.read[1:]
    storage.read.clear()
    ahead.used([p64(number) for number in sent])
    assert shared.figures.used == shared.figures.sent >= 10 > len(storage.read) > 0


def references(storage, oid):
    return likely_references(storage.load(oid)[0])


def test_a_record_that_is_used_late_was_not_wasted():
    figures = Figures()
    window = Window(figures)
    window.sent(p64(1), 100, None)
    for _ in range(100):
        window.loaded(100)
    assert figures.wasted == 1
    group = window.used(p64(1))
    assert (group, figures.used, figures.wasted) == (None, 1, 0)


def group_of(kind):
    return Group(0, [], kind)


def test_what_is_on_its_way_does_not_count_against_what_has_led_to_it():
    kind = Kind()
    group = group_of(kind)
    window = Window(Figures())
    for number in range(40):
        window.sent(p64(number), 10, group)
    assert kind.most(16) == 16
    for _ in range(30):  # the client goes on without it
        window.loaded(10)
    assert kind.most(16) == 1
    for number in range(40):
        assert window.used(p64(number)) is group
        group.kind.used()
    assert kind.most(16) == 16


def test_no_more_is_sent_than_may_be_in_vain_whatever_becomes_of_it():
    window = Window(Figures())
    sent = useful = 0
    for number in range(3000):
        useful += 300
        if window.closed:
            window.closed -= 1
            continue
        window.loaded(300)
        if window.room(16) and window.bytes_left(True) > 0:
            window.sent(p64(number), 1500, None)
            sent += 1500
        assert sent < 64 * 1024 + 0.3 * useful + 1500
    assert sent > 64 * 1024


def test_a_client_that_wants_a_sixth_of_the_first_hundred_is_sent_more():
    window = Window(Figures())
    send_and_use(window, count=100, every=6)
    assert not window.closed
    send_and_use(window, count=600, every=6)
    assert window.closed
    other = Window(Figures())
    send_and_use(other, count=100, every=20)
    assert other.closed


def send_and_use(window, count, every):
    """Send records of which one of so many is used, and the others are not in time."""
    for number in range(count):
        window.sent(p64(number), 10, None)
        if number % every == 0:
            window.used(p64(number))
    for _ in range(100):
        if not window.closed:
            window.loaded(10)


def test_candidates_age_and_are_taken_while_some_of_them_are_used():
    candidates = Candidates(5)
    candidates.put(0, [p64(number) for number in range(10)], Kind())
    taken = [candidates.take(0, 3) for _ in range(4)]
    assert [u64(found[0]) for found in taken[:3]] == [0, 1, 2] and taken[3] is None
    group = taken[0][1]
    group.used += 1
    candidates.used(4, group)
    assert u64(candidates.take(9, 3)[0]) == 3
    assert candidates.take(10, 3) is None


def test_a_window_never_has_more_under_way_than_it_should():
    choose = random.Random(1)
    window = Window(Figures())
    sent, left = [], 0
    for number in range(5_000):
        window.loaded(choose.randrange(2000))
        room = min(window.room(0), 64)
        for one in range(room):
            if window.bytes_left(False) > 0:
                window.sent(p64(number * 100 + one), choose.randrange(5000), None)
                sent.append(p64(number * 100 + one))
        if sent and choose.random() < 0.3:
            window.used(sent.pop())
        left = max(left, window._recent_bytes + window._old_bytes)
        assert len(window._recent) <= 512 and len(window._old) <= 513
    assert left < 3 * 2**20
