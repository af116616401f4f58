#!/usr/bin/env python
"""Round trips and bytes of walks with read-ahead, computed: the same figures on every machine.

    python scripts/read_ahead_lab.py                       all walks, each twice
    python scripts/read_ahead_lab.py plone --think 0.007   one; 7 ms between two objects
    python scripts/read_ahead_lab.py --record plone FILE   record one, with a Python that has Plone

Enters: names of walks. Leaves: a line for each. Fails: with one line and exit status 2 for a wrong
command line.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / 'scripts'), str(TOP / 'tests'), str(TOP / 'src')]

import ZODB  # noqa: E402
from ahead_lab import recorded  # noqa: E402
from ahead_lab.model import Model  # noqa: E402
from benchlib import ahead, zopes  # noqa: E402
from benchlib.records import DATA_FILE  # noqa: E402
from ZODB.FileStorage import FileStorage  # noqa: E402
from ZODB.utils import maxtid  # noqa: E402


class Recording:
    """Notes which objects are loaded from a storage, each once."""

    def __init__(self, storage: Any) -> None:
        self._load = storage.loadBefore
        self.loads: dict[bytes, None] = {}
        storage.loadBefore = self._noted

    def _noted(self, oid: bytes, before: bytes) -> Any:
        self.loads[oid] = None
        return self._load(oid, before)


def walk_of_bench(name: str) -> recorded.Walk:
    """Return a walk that the benchmark's clients make, through a database that it makes."""
    make, look, _ = ahead.WHAT[name]
    make()
    storage = FileStorage(DATA_FILE, read_only=True)
    recording = Recording(storage)
    database = ZODB.DB(storage)
    look(database.open().root.things)
    walk = recorded.Walk(list(recording.loads), records_of(storage))
    database.close()
    return walk


def walk_of_site(kind: str) -> recorded.Walk:
    """Return what a crawler loads that walks through a Zope or a Plone with nothing in its cache.

    A process can start one Zope: it fills the site, and begins with empty object caches.
    """
    directory = Path.cwd() / 'site'
    directory.mkdir()
    section = f'<filestorage>\n path {Path.cwd() / DATA_FILE}\n</filestorage>'
    site = zopes.Site(kind, directory, section)
    site.fill()
    import Zope2

    Zope2.DB.cacheMinimize()
    recording = Recording(site.storage)
    for _ in site.crawl(zopes.FRONT[kind]):
        pass
    return recorded.Walk(list(recording.loads), records_of(site.storage))


def records_of(storage: Any) -> dict[bytes, bytes]:
    """Return the current records of a storage that can iterate."""
    oids = {record.oid for transaction in storage.iterator() for record in transaction}
    return {oid: storage.loadBefore(oid, maxtid)[0] for oid in oids}


def in_empty_directory(find: Callable[[str], recorded.Walk], name: str) -> recorded.Walk:
    """Call a function in a new directory, which is removed."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix='zeo-ahead-') as directory:
        os.chdir(directory)
        try:
            return find(name)
        finally:
            os.chdir(before)


def walk_named(name: str) -> recorded.Walk:
    """Return a walk of the benchmark, or a recorded one."""
    if name in ahead.WHAT:
        return in_empty_directory(walk_of_bench, name)
    return recorded.read(str(recorded.DIRECTORY / f'{name}.xz'))


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    known = [*ahead.WHAT, *recorded.names()]
    parser.add_argument('names', nargs='*', metavar='WALK', help=f'of {", ".join(known)}')
    parser.add_argument('--think', type=float, default=0.0003, metavar='SECONDS')
    parser.add_argument('--walks', type=int, default=2, help='one client after the other')
    parser.add_argument('--record', choices=sorted(zopes.FRONT), help='write WALK, a file')
    options = parser.parse_args(argv)
    if options.record:
        (path,) = options.names
        path = os.path.abspath(path)
        walk = in_empty_directory(walk_of_site, options.record)
        recorded.write(path, walk.loads, walk.records)
        return 0
    for name in options.names or known:
        if name not in known:
            parser.error(f'there is no walk {name!r}: give one of {", ".join(known)}')
        walk = walk_named(name)
        model = Model(walk.records, options.think)
        for _ in range(options.walks):
            print(f'{name:6}', model.walk(walk.loads), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
