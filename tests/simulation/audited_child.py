"""A server and a client, all of whose files are on a simulated disk: prints the real files that are
opened, made, renamed or removed meanwhile.

What modules are loaded from, and what the system shows of itself in files, is left out.
"""

import importlib
import os
import pkgutil
import sys
import sysconfig
import threading
import time
from contextlib import closing

import transaction
import ZODB
import ZODB.blob
from ZODB.FileStorage import FileStorage

import ZEO
from support.simulation.disk import Disk
from support.simulation.disk_modules import installed
from ZEO.ClientStorage import ClientStorage
from ZEO.serving.limits import Limits
from ZEO.StorageServer import StorageServer

FINE = ('/proc/', '/dev/', *sysconfig.get_paths().values(), os.path.dirname(ZEO.__file__))
found = set()


def audit(event, args):
    """Note what concerns a real file."""
    if event == 'open' or (event.startswith(('os.', 'shutil.', 'tempfile.')) and args):
        path = args[0]
        if isinstance(path, (str, bytes)) and not os.fsdecode(path).startswith(FINE):
            found.add(f'{event} {os.fsdecode(path)}')


def use(address):
    """Do what uses files."""
    options = {'cache': '/data/client.zec', 'blob_dir': '/data/cached', 'wait_timeout': 20}
    client = ClientStorage(address, blob_cache_size=10_000, **options)
    with closing(ZODB.DB(client)) as db:
        connection = db.open()
        root = connection.root()
        for number in range(5):
            root[number] = ZODB.blob.Blob(b'x' * 4000)
            transaction.commit()
        root['large'] = 'x' * 3_000_000  # more than the server keeps in memory
        transaction.commit()
        connection.cacheMinimize()
        assert len(root[0].open('r').read()) == 4000
        with root[1].open('w') as file:
            file.write(b'y')
        transaction.commit()
        db.undo(db.undoLog(0, 1)[0]['id'])
        transaction.commit()
        db.pack(time.time() + 1)
        connection.close()
    ClientStorage(address, cache_size=1_000_000, **options).close()  # another size, and blobs


def main():
    for module in pkgutil.walk_packages(ZEO.__path__, 'ZEO.'):
        if module.name.partition('.')[2] not in ('start', 'zeoctl', 'nagios'):
            importlib.import_module(module.name)
    disk = Disk()
    # the threads of both use one disk, which is made for one thread: they take turns
    sys.setswitchinterval(60)
    sys.addaudithook(audit)
    with installed(lambda: disk):
        storage = FileStorage('/data/Data.fs', blob_dir='/data/blobs', pack_keep_old=False)
        server = StorageServer(
            ('127.0.0.1', 0), {'1': storage}, limits=Limits(commit_memory=1_000_000)
        )
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        use(server.addr)
        server.close()
        thread.join(20)
    print(disk.changes > 100, sorted(found))


if __name__ == '__main__':
    main()
