"""The blob cache: its bound, what stays, and what a broken transfer leaves."""

import os
import threading

import pytest
from ZODB.POSException import POSKeyError, Unsupported

from support.scripted import Running
from ZEO.Exceptions import ProtocolError
from ZEO.link.blob_cache import IN_USE
from ZEO.link.blob_store import no_blobs
from ZEO.link.cached_blobs import open_blobs
from ZEO.link.options import BlobOptions
from ZEO.net.system import System


def oid(number):
    """Return an oid, or a tid."""
    return number.to_bytes(8, 'big')


class Stopped(System):
    """A clock that is set, and threads that run at once."""

    time = 1_000_000_000.0

    def wall_clock(self):
        return self.time

    def spawn(self, name, target, *args):
        target(*args)


class Server:
    """Sends blobs of one size, or breaks off."""

    def __init__(self, size=100):
        self.size = size
        self.sent = []
        self.breaks_off = False
        self.store = None

    def fetch(self, number, serial):
        self.sent.append(number)
        self.store.arrived('receiveBlobStart', (number, serial))
        self.store.arrived('receiveBlobChunk', (number, serial, b'x' * self.size))
        if self.breaks_off:
            raise ConnectionError
        self.store.arrived('receiveBlobStop', (number, serial))


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def system():
    return Stopped()


@pytest.fixture
def open_store(tmp_path, server, system):
    """A function that opens a store on one directory."""

    def opened(size=None, shared=False):
        server.store = open_blobs(
            BlobOptions(str(tmp_path / 'blobs'), shared, size),
            lambda number, serial: server.fetch(number, serial),
            system,
        )
        return server.store

    return opened


def use(store, number, system, when):
    """Load a blob as if at another time."""
    path = store.load(oid(number), oid(1))
    os.utime(path, (when, when))
    return path


def test_a_blob_is_fetched_once(open_store, server):
    store = open_store()
    paths = {store.load(oid(1), oid(1)) for _ in range(3)}
    assert server.sent == [oid(1)]
    with store.open(oid(1), oid(1)) as file:
        assert file.read() == b'x' * 100
    assert os.stat(paths.pop()).st_mode & 0o777 == 0o400


def test_a_cache_is_as_readable_as_its_directory(open_store, tmp_path):
    """One that was there before has the rights that its operator gave it."""
    blobs = tmp_path / 'blobs'
    blobs.mkdir()
    blobs.chmod(0o750)
    path = open_store().load(oid(1), oid(1))
    assert os.stat(path).st_mode & 0o777 & ~0o440 == 0
    blobs.chmod(0o700)
    os.unlink(path)
    os.rmdir(os.path.dirname(path))
    path = open_store().load(oid(1), oid(1))
    assert os.stat(path).st_mode & 0o777 == 0o400


def test_another_process_finds_it_there(open_store, server):
    open_store().load(oid(1), oid(1))
    open_store().load(oid(1), oid(1))
    assert server.sent == [oid(1)]


def test_the_least_recently_used_go(open_store, system):
    store = open_store(size=350)
    long_ago = system.time - 10 * IN_USE
    paths = [use(store, number, system, long_ago + number) for number in (2, 3, 1)]
    use(store, 4, system, system.time)
    assert [os.path.exists(path) for path in paths] == [True, True, False]


def test_what_was_just_asked_for_stays(open_store, system):
    store = open_store(size=150)
    paths = [use(store, number, system, system.time - 1) for number in range(1, 5)]
    assert all(map(os.path.exists, paths))


def test_without_a_bound_all_stay(open_store, system):
    store = open_store()
    paths = [use(store, number, system, 0) for number in range(1, 20)]
    assert all(map(os.path.exists, paths))


def test_an_open_file_stays_readable(open_store, system):
    store = open_store(size=100)
    use(store, 1, system, 0)
    with store.open(oid(1), oid(1)) as file:
        os.utime(file.name, (0, 0))
        for number in range(2, 6):
            use(store, number, system, 0)
        assert not os.path.exists(file.name)
        assert file.read() == b'x' * 100


def test_a_broken_transfer_leaves_nothing(open_store, server):
    store = open_store()
    server.breaks_off = True
    with pytest.raises(ConnectionError):
        store.load(oid(1), oid(1))
    names = {name for _, _, names in os.walk(store.fshelper.base_dir) for name in names}
    assert names <= {'.layout', '.boot', '.boot.lock'}
    server.breaks_off = False
    assert os.path.getsize(store.load(oid(1), oid(1))) == 100


def test_a_removed_file_is_fetched_again(open_store, server):
    store = open_store()
    os.unlink(store.load(oid(1), oid(1)))
    with store.open(oid(1), oid(1)) as file:
        assert len(file.read()) == 100
    assert len(server.sent) == 2


def test_a_full_disk_is_told_to_who_loads(open_store, server, monkeypatch):
    store = open_store()

    def full(descriptor, *args, **options):
        os.close(descriptor)
        return open('/dev/full', *args, **options)

    monkeypatch.setattr(os, 'fdopen', full)
    with pytest.raises(OSError, match='No space'):
        store.load(oid(1), oid(1))
    assert server.sent == [oid(1)]


def test_a_shared_directory_has_what_the_server_has(open_store, server, tmp_path):
    (tmp_path / 'blobs').mkdir()
    store = open_store(shared=True)
    with pytest.raises(POSKeyError, match='No blob file'):
        store.load(oid(1), oid(1))
    assert server.sent == []


@pytest.mark.parametrize('shared', [False, True])
def test_a_fifo_in_the_place_of_a_blob_makes_no_caller_wait(open_store, server, tmp_path, shared):
    (tmp_path / 'blobs').mkdir()
    store = open_store(shared=shared)
    path = store.fshelper.getBlobFilename(oid(1), oid(1))
    os.makedirs(os.path.dirname(path))
    os.mkfifo(path)
    if shared:
        with pytest.raises(POSKeyError):
            store.open(oid(1), oid(1))
    else:
        with store.open(oid(1), oid(1)) as file:
            assert file.read() == b'x' * 100


def test_two_downloads_do_not_mix(open_store, server):
    store = open_store()
    fetched = {}

    def fetch(number, serial):
        store.arrived('receiveBlobStart', (number, serial))
        store.arrived('receiveBlobChunk', (number, serial, number))
        if number == oid(1):
            fetched[2] = store.load(oid(2), serial)  # comes in between
        store.arrived('receiveBlobChunk', (number, serial, number))
        store.arrived('receiveBlobStop', (number, serial))

    server.fetch = fetch
    fetched[1] = store.load(oid(1), oid(1))
    for number, path in fetched.items():
        with open(path, 'rb') as file:
            assert file.read() == 2 * oid(number)


def test_what_comes_for_a_caller_that_has_given_up_is_dropped_until_its_end(open_store, server):
    """It was interrupted; another may want the same blob meanwhile, and gets that which was sent
    for it.
    """
    store = open_store()

    def interrupted(number, serial):
        store.arrived('receiveBlobStart', (number, serial))
        store.arrived('receiveBlobChunk', (number, serial, b'old'))
        store.give_up(number, serial)
        raise KeyboardInterrupt

    good, server.fetch = server.fetch, interrupted
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            store.load(oid(1), oid(1))
        store.arrived('receiveBlobChunk', (oid(1), oid(1), b'old'))

    def behind(number, serial):
        store.arrived('receiveBlobStop', (number, serial))
        store.arrived('receiveBlobStart', (number, serial))
        store.arrived('receiveBlobStop', (number, serial))
        good(number, serial)

    server.fetch = behind
    with open(store.load(oid(1), oid(1)), 'rb') as file:
        assert file.read() == b'x' * 100
    with pytest.raises(ProtocolError, match='did not ask for'):
        store.arrived('receiveBlobStop', (oid(1), oid(1)))


class Seen:
    """A lock that says when a thread comes to it while another one has it."""

    def __init__(self, waited_for):
        self._lock, self._waited_for = threading.Lock(), waited_for

    def __enter__(self):
        if self._lock.locked():
            self._waited_for.set()
        self._lock.acquire()

    def __exit__(self, *exception):
        self._lock.release()


def test_one_thread_at_a_time_fetches_a_blob_also_after_one_has_failed(open_store, server, system):
    """The parts of two would not be told apart."""
    happens = threading.Event()  # a thread waits for another one, or asks the server
    turns, fetches = [threading.Event() for _ in range(3)], []
    system.lock = lambda: Seen(happens)
    store, send = open_store(), server.fetch

    def fetch(number, serial):
        turn = turns[len(fetches)]
        fetches.append(turn)
        happens.set()
        assert turn.wait(30)
        if turn is turns[0]:
            raise ConnectionError
        send(number, serial)

    def begin():
        happens.clear()
        thread = Running(store.load, oid(1), oid(1))
        assert happens.wait(30)
        return thread

    server.fetch = fetch
    first, second = begin(), begin()
    happens.clear()
    turns[0].set()
    with pytest.raises(ConnectionError):
        first.result()
    assert happens.wait(30)  # the second asks now
    third = begin()
    assert len(fetches) == 2
    for turn in turns:
        turn.set()
    assert second.result() == third.result()
    assert len(fetches) == 2


def test_the_bound_is_kept_after_a_clean_up_that_could_not_begin(open_store, server, system):
    """An exception, thrown in by a signal handler, say, has struck the thread that had begun it."""
    store = open_store(size=1000)
    spawn = system.spawn
    system.spawn = lambda *args: throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        for number in range(20):
            use(store, number, system, system.time - 2 * IN_USE)
    system.spawn = spawn
    for number in range(20, 40):
        use(store, number, system, system.time - 2 * IN_USE)
    assert sum(os.path.exists(path) for path in map(path_in(store), range(40))) <= 12


def throw(error):
    raise error


def path_in(store):
    return lambda number: store.fshelper.getBlobFilename(oid(number), oid(1))


def test_without_a_directory():
    with pytest.raises(Unsupported, match='blob_dir'):
        no_blobs()
