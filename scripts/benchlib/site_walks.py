"""A crawler walks cold through a real Zope or Plone, over a network that takes time.

The rows are skipped where the Python of an implementation does not have the framework.  Most of
the time such a walk takes is that of the framework, which no storage can change.  So *waiting* is
the time within the storage's loads: what a request takes more than from a warm cache.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import zopes
from .ahead import BETTER, Away
from .meters import Meter, Metrics
from .records import expect
from .registry import Row, Target, workload
from .servers import Server

DELAY = 0.0005  # seconds of one way

_CLIENT = """\
<zeoclient>
    server {}:{}
    cache-size 100MB
  </zeoclient>"""


class TimedLoads:
    """Adds up how long the loads of a storage take, in one thread.

    storage: whose loadBefore is replaced.
    """

    def __init__(self, storage: Any):
        self.seconds = 0.0
        self._load = storage.loadBefore
        storage.loadBefore = self._timed

    def _timed(self, oid: bytes, before: bytes) -> Any:
        begin = time.perf_counter()
        try:
            return self._load(oid, before)
        finally:
            self.seconds += time.perf_counter() - begin


def _rows(kind: str, name: str) -> list[Row]:
    def row(prefix: str, title: str, metric: str, targets: tuple[Target, ...], **more: Any) -> Row:
        parameters = {'kind': kind, 'read_ahead': 'network', **more}
        return Row(
            f'{prefix}-{kind}',
            title,
            parameters,
            metric=metric,
            unit='ms',
            targets=targets,
            rounds=3,
            timeout=300.0,
        )

    cold = f'walk {name} cold, 1 ms away: waiting for loads'
    off = {'read_ahead': 'off'}
    return [
        row('read-ahead', cold, 'waiting', BETTER),
        row('read-ahead-all', 'the same, with the time of the framework', 'ms', ()),
        row('no-read-ahead', 'waiting for loads, without read-ahead', 'waiting', (), **off),
        row(
            'read-ahead-again',
            'the same with read-ahead, as another process has done before',
            'waiting',
            BETTER,
            walks=2,
        ),
    ]


@workload(*_rows('zope', 'a Zope'), *_rows('plone', 'a Plone'))
def walk_site(kind: str, read_ahead: str, walks: int = 1) -> Metrics:
    """Walk through a site with an empty cache; the last of several walks is measured."""
    zopes.check(kind)
    subprocess.run([sys.executable, '-m', 'benchlib.zopes', kind], check=True)
    with Server('file', 'tcp', keys={'read-ahead': read_ahead}) as server:
        for _ in range(walks - 1):  # a process can start one Zope
            with Away(_tcp(server), DELAY) as away:
                command = [sys.executable, '-m', 'benchlib.site_walks', kind, str(away.address[1])]
                subprocess.run(command, check=True)
        with Away(_tcp(server), DELAY) as away:
            metrics = _measured(server, kind, away)
    return {**metrics, 'bytes': away.bytes}


def _tcp(server: Server) -> tuple[str, int]:
    assert not isinstance(server.address, str)
    return server.address


def _started(kind: str, port: int) -> zopes.Site:
    directory = Path.cwd() / f'client-{port}'
    directory.mkdir()
    return zopes.Site(kind, directory, _CLIENT.format('127.0.0.1', port))


def _walk(site: zopes.Site) -> None:
    pages = sum(1 for _ in site.crawl(zopes.FRONT[site.kind]))
    expect('pages', pages, zopes.COUNT[site.kind])


def _measured(server: Server, kind: str, away: Away) -> Metrics:
    site = _started(kind, int(away.address[1]))
    storage = site.storage
    loads = TimedLoads(storage)
    before = storage.server_status()['loads']
    meter = Meter(server.pid)
    with meter:
        _walk(site)
    trips = storage.server_status()['loads'] - before
    storage.close()
    return {
        'ms': meter.seconds * 1000,
        'waiting': loads.seconds * 1000,
        'trips': trips,
        'client_ms': meter.client * 1000,
        'server_ms': meter.server * 1000,
    }


if __name__ == '__main__':
    _walk(_started(sys.argv[1], int(sys.argv[2])))
