"""Clients that walk through objects cold, over a network that takes time: what read-ahead is for.

The network is a proxy (:mod:`benchlib.delay`), which delays all bytes and counts them.  ZEO 6 has
no read-ahead: there both kinds of rows show the same work.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from .meters import Meter, Metrics
from .records import DATA_FILE, expect
from .registry import Row, Target, workload
from .servers import Address, Server, open_client, understands
from .zodb_names import ZODB, FileStorage, OOBTree, PersistentMapping

KEYS = 20_000
FOLDERS, PAGES = 20, 20  # of a site, and of each folder

BETTER = (
    Target(1 / 3, False),
    Target(1 / 5, False, metric='trips'),
    Target(1.5, False, metric='bytes'),
)


class Away:
    """A network between a client and a server; a context manager.

    delay: seconds of one way.
    """

    def __init__(self, target: Address, delay: float):
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'benchlib.delay', '{}:{}'.format(*target), str(delay)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address: Address = ('127.0.0.1', int(self._line()))
        self.bytes = 0  # that came from the server, once it has ended

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def __enter__(self) -> Away:
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.bytes = int(self._line().split()[1])
        self._process.wait()


def make_btree() -> None:
    """Make a FileStorage with one large BTree of texts."""
    database = ZODB.DB(FileStorage(DATA_FILE, create=True))
    with database.transaction() as connection:
        connection.root.things = OOBTree({f'{key:08}': 'x' * 40 for key in range(KEYS)})
    database.close()


def make_pages() -> None:
    """Make a FileStorage with folders of pages, which have objects of their own, as in Zope."""
    database = ZODB.DB(FileStorage(DATA_FILE, create=True))
    with database.transaction() as connection:
        connection.root.things = site = PersistentMapping()
        for name in range(FOLDERS):
            site[f'folder-{name}'] = folder = PersistentMapping(title='a folder')
            folder['_tree'] = tree = OOBTree()
            for number in range(PAGES):
                tree[f'page-{number}'] = page = PersistentMapping(title='a page', text='x' * 900)
                page['__parent__'] = folder
                page['annotations'] = OOBTree({'owner': 'someone', 'subjects': 'one, two'})
    database.close()


def walk_btree(things: Any) -> int:
    """Look at every key and value; return their number."""
    return sum(len(key) == 8 and len(value) == 40 for key, value in things.items())


def walk_pages(things: Any) -> int:
    """Look at every page of every folder; return their number."""
    count = 0
    for folder in things.values():
        for page in folder['_tree'].values():
            count += page['annotations']['owner'] == 'someone' and len(page['text']) == 900
    return count


WHAT = {
    'btree': (make_btree, walk_btree, KEYS),
    'pages': (make_pages, walk_pages, FOLDERS * PAGES),
}


def _row(name: str, title: str, targets: tuple[Target, ...] = (), **parameters: Any) -> Row:
    return Row(
        name,
        title,
        {'delay': 0.0005, 'read_ahead': 'network', **parameters},
        metric='ms',
        unit='ms',
        targets=targets,
        rounds=3,
    )


@workload(
    _row('read-ahead-btree', 'walk a BTree cold, 1 ms away', BETTER, what='btree'),
    _row('no-read-ahead-btree', 'the same, without read-ahead', what='btree', read_ahead='off'),
    _row('read-ahead-pages', 'walk a site of pages cold, 1 ms away', BETTER, what='pages'),
    _row(
        'read-ahead-pages-again',
        'the same, as another client has done before',
        BETTER,
        what='pages',
        walks=2,
    ),
    _row('no-read-ahead-pages', 'the same, without read-ahead', what='pages', read_ahead='off'),
    _row('read-ahead-loopback', 'the same over TCP on one machine', what='pages', delay=0.0),
    _row(
        'no-read-ahead-loopback',
        'the same over TCP on one machine, without',
        what='pages',
        delay=0.0,
        read_ahead='off',
    ),
    _row(
        'read-ahead-unix',
        'the same over a Unix socket, as it is by default',
        what='pages',
        transport='unix',
    ),
    _row(
        'read-ahead-unix-always',
        'the same over a Unix socket, with read-ahead',
        what='pages',
        transport='unix',
        read_ahead='always',
    ),
)
def walk(
    what: str, delay: float, read_ahead: str, walks: int = 1, transport: str = 'tcp'
) -> Metrics:
    """Walk through objects with an empty cache; the last of several walks is measured."""
    make, look, count = WHAT[what]
    make()
    with Server('file', transport, keys={'read-ahead': read_ahead}) as server:
        for _ in range(walks):
            metrics = _walk(server, delay, look, count)
        return metrics


@workload(
    _row(
        'read-ahead-second-server',
        'walk a site of pages cold, through a second server, which is 1 ms away from the first',
        (Target(1 / 2, False),),
        what='pages',
    ),
    _row(
        'no-read-ahead-second-server',
        'the same, without read-ahead',
        what='pages',
        read_ahead='off',
    ),
    _row(
        'read-ahead-second-server-warm',
        'the same, as another client has done before',
        what='pages',
        walks=2,
    ),
)
def walk_through_second(what: str, delay: float, read_ahead: str, walks: int = 1) -> Metrics:
    """The same for a client of a second server, which is a client of the first one."""
    make, look, count = WHAT[what]
    make()
    keys = {'read-ahead': read_ahead}
    with Server('file', 'tcp', keys=keys) as first:
        assert not isinstance(first.address, str)
        with Away(first.address, delay) as away:
            with Server('second', 'unix', keys=keys, first=away.address) as second:
                for _ in range(walks):
                    metrics = _measured(second, second.address, look, count)
    return {**metrics, 'bytes': away.bytes}


def _walk(server: Server, delay: float, look: Any, count: int) -> Metrics:
    if not delay or isinstance(server.address, str):
        return _measured(server, server.address, look, count)
    with Away(server.address, delay) as away:
        metrics = _measured(server, away.address, look, count)
    return {**metrics, 'bytes': away.bytes}


def _measured(server: Server, address: Address, look: Any, count: int) -> Metrics:
    options = {'read_ahead': True} if understands('read_ahead') else {}
    storage = open_client(address, cache_size=100_000_000, **options)
    database = ZODB.DB(storage)
    connection = database.open()
    before = storage.server_status()['loads']
    meter = Meter(server.pid)
    with meter:
        expect('things seen', look(connection.root.things), count)
    trips = storage.server_status()['loads'] - before
    database.close()
    return {
        'ms': meter.seconds * 1000,
        'trips': trips,
        'client_ms': meter.client * 1000,
        'server_ms': meter.server * 1000,
    }
