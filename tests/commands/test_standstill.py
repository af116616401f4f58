"""A server whose loop stands still: what says so, and that it goes on."""

import contextlib
import logging
import os
import socket
import sys
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from support.processes import PATIENCE, Process, wait_until
from support.sides import SOURCES
from ZEO.ClientStorage import ClientStorage
from ZEO.commands import standstill
from ZEO.commands.standstill import Standstill
from ZEO.net.notifications import Supervisor
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.monitor import standing_in
from ZEO.StorageServer import StorageServer

#: A server whose disk finishes no sync until something is written into a FIFO.
HANGING = """
import sys
from ZODB.FileStorage import FileStorage
from ZEO.commands import standstill
standstill.EVERY = 0.05

def fsync(fd):
    with open('fifo', 'rb') as fifo:
        fifo.read()

from ZEO.runzeo import main
from ZEO.StorageServer import StorageServer
serve = StorageServer.serve_forever

def served(server):
    sys.modules[FileStorage.__module__].fsync = fsync
    serve(server)

StorageServer.serve_forever = served
main(['-C', 'zeo.conf'])
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A short time is long."""
    monkeypatch.setattr(standstill, 'EVERY', 0.02)
    monkeypatch.setattr(standstill, 'ANSWERS_EVERY', 0.02)


class Disk:
    """A disk that finishes no sync while it is to hang."""

    def __init__(self, monkeypatch):
        self.ends = threading.Event()
        self.ends.set()
        monkeypatch.setattr(os, 'fsync', self._sync)
        monkeypatch.setattr(sys.modules[FileStorage.__module__], 'fsync', self._sync)

    def _sync(self, fd):
        assert self.ends.wait(PATIENCE)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def commit(client):
    transaction = TransactionMetaData()
    client.tpc_begin(transaction)
    client.store(p64(1), z64, b'data', '', transaction)
    client.tpc_vote(transaction)
    client.tpc_finish(transaction)


class Served:
    """A server of a file, with a monitor, that is looked at; and a client."""

    def __init__(self, storage, supervisor):
        self.server = StorageServer(
            ('127.0.0.1', 0), {'1': storage}, monitor_address=('127.0.0.1', 0)
        )
        self._supervisor = supervisor
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.url = 'http://{}:{}'.format(*self.server.monitor_addresses[0])
        self.client = ClientStorage(self.server.addr, wait_timeout=PATIENCE)
        self._committing = None

    def _serve(self):
        with Standstill(self.server, self._supervisor).noticed():
            self.server.serve_forever()

    def commit(self):
        """Commit in a thread."""
        self._committing = threading.Thread(target=commit, args=(self.client,), daemon=True)
        self._committing.start()

    def committed(self):
        self._committing.join(PATIENCE)
        return self.client.load(p64(1))[0] == b'data'

    def close(self):
        self.client.close()
        self.server.stop()
        self._thread.join(PATIENCE)
        self.server.close()


@pytest.fixture
def serve(disk):
    made = []

    def start(storage, supervisor=None):
        made.append(Served(storage, supervisor or Supervisor({})))
        return made[-1]

    yield start
    disk.ends.set()
    for one in made:
        one.close()


def get(url, method='GET'):
    """Return the status and the text of an answer; None where there is none in time."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return None


def says(url):
    """Wait for an answer of the thread that looks."""
    found = []
    wait_until(lambda: (found.append(get(url)), found[-1] and found[-1][0] == 503)[1])
    return found[-1][1]


@pytest.mark.parametrize('kind', [FileStorage, GroupedFileStorage])
def test_the_log_and_the_monitor_say_that_a_disk_does_not_finish_a_sync(
    serve, disk, tmp_path, caplog, kind
):
    served = serve(kind(str(tmp_path / 'Data.fs')))
    assert get(f'{served.url}/readyz') == (200, 'ready\n')
    disk.ends.clear()
    served.commit()
    for path in 'readyz', 'healthz', 'metrics', 'status.json':
        text = says(f'{served.url}/{path}')
        assert text.startswith('no client is served: one call takes ')
        assert 'its disk has not finished the sync of a transaction; it is in ' in text
        assert '_finish (' in text
    wait_until(lambda: 'no client is served' in caplog.text)
    disk.ends.set()
    assert served.committed()
    wait_until(lambda: 'clients are served again, after ' in caplog.text)
    assert get(f'{served.url}/readyz') == (200, 'ready\n')
    levels = [one.levelno for one in caplog.records if one.name == 'ZEO.runzeo']
    assert levels == [logging.ERROR, logging.WARNING]


def test_who_asks_with_head_or_nothing_or_leaves_does_no_harm(serve, disk, tmp_path, monkeypatch):
    monkeypatch.setattr(standing_in, 'PATIENCE', 0.05)
    served = serve(FileStorage(str(tmp_path / 'Data.fs')))
    disk.ends.clear()
    served.commit()
    says(served.url)
    with contextlib.ExitStack() as stack:
        for data in b'', b'GET', b'x' * 100_000:
            stream = socket.create_connection(served.server.monitor_addresses[0], PATIENCE)
            stack.callback(stream.close)
            with contextlib.suppress(OSError):
                stream.sendall(data)
        socket.create_connection(served.server.monitor_addresses[0], PATIENCE).close()
        wait_until(lambda: get(served.url, 'HEAD') == (503, ''))
    disk.ends.set()
    assert served.committed()


def test_a_supervisor_is_sent_it(serve, disk, tmp_path, monkeypatch):
    texts = []
    supervisor = SimpleNamespace(status=lambda text, patience: texts.append(text))
    served = serve(FileStorage(str(tmp_path / 'Data.fs')), supervisor)
    disk.ends.clear()
    served.commit()
    wait_until(lambda: texts)
    disk.ends.set()
    assert served.committed()
    assert 'has not finished the sync' in texts[0]


def test_where_no_thread_can_be_started_it_serves(serve, tmp_path, monkeypatch, caplog):
    real = standstill.REAL.spawn

    def spawn(name, *args):
        if name == 'ZEO standstill':
            raise RuntimeError("can't start new thread")
        return real(name, *args)

    monkeypatch.setattr(standstill.REAL, 'spawn', spawn, raising=False)
    served = serve(FileStorage(str(tmp_path / 'Data.fs')))
    assert get(served.url + '/readyz') == (200, 'ready\n')
    assert "can't start new thread" in caplog.text


def test_a_process_that_was_stopped_does_not_hang(monkeypatch):
    """All its threads stand as long: what counts are the looks in which only the loop did."""
    looks, said = [], []
    server = SimpleNamespace(post=lambda beat: None, later=lambda seconds, beat: None)
    looking = Standstill(server, Supervisor({}))
    monkeypatch.setattr(looking, '_stands', lambda *args: said.append(args))

    def wait(seconds):
        looks.append(seconds)
        if len(looks) % (standstill.LOOKS - 1) == 0:
            looking._beat()
        return len(looks) > 100

    looking._ended = SimpleNamespace(wait=wait)
    looking._beat()
    looking._watch()
    assert not said


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='there are no FIFOs')
def test_the_process_of_a_server_says_it(tmp_path):
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'zeo.conf').write_text(
        '<zeo>\naddress 127.0.0.1:0\n</zeo>\n<filestorage>\npath Data.fs\n</filestorage>\n'
    )
    environ = {**os.environ, 'PYTHONPATH': str(SOURCES)}
    with Process([sys.executable, '-c', HANGING], cwd=tmp_path, env=environ) as process:
        port = int(process.errors.wait_for(r'listening on 127.0.0.1:(\d+)')[1])
        client = ClientStorage(('127.0.0.1', port), wait_timeout=PATIENCE)
        committing = threading.Thread(target=commit, args=(client,), daemon=True)
        committing.start()
        process.errors.wait_for('no client is served: .* not finished the sync of a transaction')
        with open(tmp_path / 'fifo', 'wb'):
            pass
        committing.join(PATIENCE)
        assert client.load(p64(1))[0] == b'data'
        process.errors.wait_for('clients are served again, after ')
        client.close()
