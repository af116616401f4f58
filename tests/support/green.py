"""A program with greenlets in the place of threads: ``python -m support.green (threads|sockets)
ADDRESS (commit|wait)``.

With `threads` gevent has patched everything, with `sockets` everything but threads. ``commit``: ten
greenlets commit, and the last line says what they have counted. ``wait``: a call to a server that
says nothing more; the last line says how it ended.
"""

from __future__ import annotations

import sys

from gevent import monkey

if __name__ == '__main__':
    monkey.patch_all(thread=sys.argv[1] == 'threads')

import faulthandler
import json
from typing import Any

import gevent
import transaction
import ZODB
from persistent.mapping import PersistentMapping

from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZEO.link import deadlines

#: Commits of each greenlet.
COMMITS = 10


def commit(storage: ClientStorage) -> str:
    """Have ten greenlets commit."""
    database = ZODB.DB(storage, pool_size=20)
    with database.transaction() as opened:
        for number in range(10):
            opened.root()[str(number)] = PersistentMapping(count=0)
    gevent.joinall(
        [gevent.spawn(_count, database, str(number)) for number in range(10)], raise_error=True
    )
    with database.transaction() as opened:
        return str(sum(opened.root()[str(number)]['count'] for number in range(10)))


def _count(database: Any, name: str) -> None:
    manager = transaction.TransactionManager()
    opened = database.open(manager)
    for _ in range(COMMITS):
        manager.begin()
        opened.root()[name]['count'] += 1
        manager.commit()
    opened.close()


def wait(storage: ClientStorage) -> str:
    """Call a server that does not answer."""
    try:
        storage.getTid(b'\0' * 8)
    except ClientDisconnected as error:
        return str(error)
    return 'answered'


if __name__ == '__main__':
    faulthandler.dump_traceback_later(40, exit=True)
    deadlines.ASK_AFTER, deadlines.GIVE_UP_AFTER = 1.0, 2.0
    address = json.loads(sys.argv[2])
    client = ClientStorage(
        tuple(address) if isinstance(address, list) else address, wait_timeout=20
    )
    print({'commit': commit, 'wait': wait}[sys.argv[3]](client), flush=True)
    client.close()
