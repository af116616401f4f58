"""What has to hold at the end of a round.

Enters: a site whose processes have ended. Leaves: what is wrong, as text; an empty list when
nothing is. Fails: never by what is found.
"""

from __future__ import annotations

import json
import subprocess
import sys

from ZODB.blob import is_blob_record
from ZODB.FileStorage import FileStorage

from support.simulation.checks import check
from support.simulation.history import Attempt, CacheContents, History, database, digest
from support.stress import objects
from support.stress.ground import Ground
from support.stress.site import Site
from ZEO.cache import ClientCache
from ZEO.cache.inspection import inspect

#: The description of the transaction in which ZODB makes the root.
CREATION = 'initial database creation'


def verdict(site: Site) -> tuple[History, list[str]]:
    """Return the history of a round, and what is wrong."""
    wrong = _scripts(site)
    storage = FileStorage(str(site.data), blob_dir=str(site.blobs), read_only=True)
    try:
        found = database(storage.iterator(), lambda oid, data: named(site, oid, data))
        wrong += _blobs(site, storage)
    finally:
        storage.close()
    # but for the one that ZODB itself makes
    found.transactions = [one for one in found.transactions or () if one.id != CREATION]
    history = judged(site, found, objects.setup(site.setup_tid))
    return history, wrong + [str(one) for one in check(history)]


def judged(site: Ground, found: History, setup: Attempt) -> History:
    """Return the history of a round.

    :param found: what the database holds.
    :param setup: what has made it.
    """
    history = History.from_lines(site.histories())
    history.attempts.insert(0, setup)
    history.transactions, history.records = found.transactions, found.records
    history.accounts, history.total = objects.ACCOUNTS, objects.TOTAL
    history.counters, history.packed = objects.COUNTERS, site.packed
    _forgive_killed(site, history)
    history.caches = _caches(site)
    return history


def named(site: Ground, oid: bytes, data: bytes | None) -> tuple[str, object] | None:
    """Return the key and the value of a record; None for an object without a key."""
    key = site.keys.get(oid.hex())
    return None if key is None or data is None else (key, objects.value_of(data))


def _forgive_killed(site: Ground, history: History) -> None:
    """The calls of a killed process did not end."""
    killed = {f'{client.name}.{pid}' for client in site.clients for pid in client.killed}
    for attempt in history.attempts:
        attempt.killed = attempt.client in killed and attempt.ended is None


def _scripts(site: Site) -> list[str]:
    """What FileStorage's own scripts find."""
    wrong = []
    for script in ('fstest', 'fsrefs'):
        done = subprocess.run(
            [sys.executable, '-m', f'ZODB.scripts.{script}', str(site.data)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode or done.stdout.strip() or done.stderr.strip():
            wrong.append(f'{script} found: {done.stdout[-1000:]}{done.stderr[-1000:]}')
    return wrong


def _blobs(site: Site, storage: FileStorage) -> list[str]:
    """Every revision of a blob has the content that its transaction names."""
    wrong = []
    values = {}
    for transaction in storage.iterator():
        for record in transaction:
            key = site.keys.get(record.oid.hex())
            if key in objects.BLOBS and record.data is not None:
                values[record.tid] = objects.value_of(record.data)
    for transaction in storage.iterator():
        for record in transaction:
            if transaction.tid in values and is_blob_record(record.data or b''):
                with open(storage.loadBlob(record.oid, record.tid), 'rb') as file:
                    if file.read() != objects.content(values[transaction.tid]):
                        wrong.append(f'the blob of {values[transaction.tid]} has something else')
    return wrong


def _caches(site: Ground) -> list[CacheContents]:
    """What the caches had at the end, in memory, and what their files have."""
    caches = [
        CacheContents(**json.loads(path.read_text()))
        for path in sorted((site.directory / 'caches').iterdir())
    ]
    for path in sorted((site.directory / 'var').glob('c*.zec')):
        cache = ClientCache(str(path), path.stat().st_size, identity=inspect(str(path)).identity)
        contents = CacheContents(path.name, (cache.getLastTid() or b'').hex())
        for oid, tid, end in list(cache.contents()):
            found = cache.load(oid) if end is None else cache.loadBefore(oid, end)
            if found is not None and found[1] == tid:
                row = [oid.hex(), tid.hex(), end and end.hex(), digest(found[0])]
                contents.records.append(row)
        cache.close()
        caches.append(contents)
    return caches
