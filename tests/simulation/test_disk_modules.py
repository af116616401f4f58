"""ZODB and ZEO on a simulated disk."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import transaction
import ZODB
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

from support.simulation.disk import Disk
from support.simulation.disk_modules import MODULES, installed

HERE = Path(__file__).parent


@pytest.mark.timeout(60)
def test_a_server_and_a_client_use_no_real_file():
    done = subprocess.run(
        [sys.executable, HERE / 'audited_child.py'],
        env={**os.environ, 'PYTHONPATH': str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.stdout == 'True []\n', done.stderr


def files(system, top):
    """Return all files below a directory and what they hold."""
    found = {}
    for folder, _, names in system.walk(top):
        for name in names:
            fd = system.open(os.path.join(folder, name), os.O_RDONLY)
            found[os.path.join(folder, name)[len(top) :]] = system.read(fd, 10**7)
            system.close(fd)
    return found


@pytest.fixture
def steady_time(monkeypatch):
    """Tids that follow from nothing but their order."""

    class Clock:
        now = 1.7e9

        def time(self):
            Clock.now += 1
            return Clock.now

        def __getattr__(self, name):
            import time

            return getattr(time, name)

    for module in ('ZODB.BaseStorage', 'ZODB.FileStorage.FileStorage', 'ZODB.utils'):
        monkeypatch.setattr(sys.modules[module], 'time', Clock())
    return Clock


def test_a_file_storage_is_the_same_to_the_byte(tmp_path, steady_time):
    def run(directory):
        steady_time.now = 1.7e9
        storage = FileStorage(f'{directory}/Data.fs', blob_dir=f'{directory}/blobs')
        with closing(ZODB.DB(storage)) as db:
            work(db)
            db.pack(steady_time.now + 60)
            work(db)
        FileStorage(f'{directory}/Data.fs', blob_dir=f'{directory}/blobs').close()

    def work(db):
        connection = db.open()
        root = connection.root()
        for number in range(12):
            root[number] = 'x' * number * 3000
            root['blob'] = Blob(b'blob' * number)
            transaction.commit()
        root['none'] = 1
        transaction.abort()
        db.undo(db.undoLog(0, 1)[0]['id'])
        transaction.commit()
        connection.close()

    run(str(tmp_path))
    real = files(os, str(tmp_path))
    disk = Disk()
    with installed(lambda: disk):
        run('/data')
        from ZODB.utils import os as simulated_os

        simulated = files(simulated_os, '/data')
    assert real.keys() == simulated.keys()
    for name in real.keys() - {'/Data.fs.lock'}:  # which holds the number of the process
        assert real[name] == simulated[name], name
    assert len(real['/Data.fs']) > 100_000


def test_the_modules_have_their_own_files_again_afterwards():
    before = {name: dict(vars(sys.modules[name])) for name in MODULES if name in sys.modules}
    with installed(lambda: None):
        pass
    for name, names in before.items():
        assert vars(sys.modules[name]) == names
