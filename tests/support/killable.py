"""Clients that are killed in the middle of their work: ``python -m support.killable``.

This process imports everything once and forks for each client, so that hundreds of kills take
seconds. A client reads through its persistent cache, old revisions too, and commits; its kill comes
at a moment that the test names.
"""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import sys
import time
import traceback

from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError
from ZODB.utils import p64

from support import jsonlines
from ZEO.ClientStorage import ClientStorage

#: The objects that clients read and change.
OIDS = [p64(number) for number in range(1, 121)]

#: Seconds after which the kernel ends a client that nobody has killed.
LONGEST = 60


def commit(
    storage: ClientStorage, chooser: random.Random, oids: list[bytes], new: bool = False
) -> None:
    """Change objects in one transaction; a conflict with another client is given up."""
    meta = TransactionMetaData()
    try:
        serials = [None if new else storage.load(oid)[1] for oid in oids]
        storage.tpc_begin(meta)
        for oid, serial in zip(oids, serials, strict=True):
            storage.store(
                oid, serial or p64(0), chooser.randbytes(chooser.randrange(20, 900)), '', meta
            )
        storage.tpc_vote(meta)
        storage.tpc_finish(meta)
    except ConflictError:
        storage.tpc_abort(meta)


def work(storage: ClientStorage, chooser: random.Random) -> None:
    """Do one thing that a client does."""
    oid = chooser.choice(OIDS)
    what = chooser.random()
    if what < 0.2:
        commit(storage, chooser, chooser.sample(OIDS, chooser.randint(1, 4)))
    elif what < 0.4:  # back in time
        found = storage.loadBefore(oid, storage.load(oid)[1])
        if found is not None:
            storage.loadBefore(oid, found[1])
    elif what < 0.5:
        storage.prefetch(chooser.sample(OIDS, 5), p64(2**63 - 1))
    else:
        storage.load(oid)


class Killer:
    """The command: run a client and kill it."""

    def do_run(
        self,
        address: str,
        client: str,
        var: str,
        cache_size: int,
        seed: int,
        seconds: float,
        opened: bool,
    ) -> bool:
        """Let a client work, and kill it.

        :param seconds: until the kill, from the moment when it has opened its storage; without
            `opened`, from its start.
        :returns: whether it had opened its storage.
        :raises RuntimeError: when it ended in another way.
        """
        heard, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            _client(
                tell, seed, address, client=client, var=var, cache_size=cache_size, wait_timeout=20
            )
        os.close(tell)
        try:
            if opened:
                os.read(heard, 1)
            time.sleep(seconds)  # the random moment
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            was_open = opened or bool(select.select([heard], [], [], 0)[0] and os.read(heard, 1))
        finally:
            os.close(heard)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise RuntimeError(f'the client ended with {os.waitstatus_to_exitcode(status)}')
        return was_open


def _client(tell: int, seed: int, *args: object, **options: object) -> None:
    """In a forked process: work until killed; what fails ends it with status 1."""
    signal.alarm(LONGEST)
    try:
        storage = ClientStorage(*args, **options)
        os.write(tell, b'!')
        chooser = random.Random(seed)
        while True:
            work(storage, chooser)
    except BaseException:  # nothing of the parent's may run here
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


if __name__ == '__main__':
    logging.basicConfig(level='ERROR', stream=sys.stderr)
    jsonlines.serve(Killer())
