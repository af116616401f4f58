"""Rounds of faults for a primary, its follower and the link between them, while clients write.

``python -m support.replica_rounds ROUNDS [SEED]``.  At any time the follower's file holds a prefix
of the primary's history, and once it has caught up, all of it; byte for byte where no pack has
come in between.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from hashlib import blake2b

import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping
from persistent.TimeStamp import TimeStamp
from ZODB.blob import Blob
from ZODB.FileStorage.FileStorage import FileIterator
from ZODB.utils import z64

from support.children import Child
from support.proxy import Proxy
from support.sides import SERVER
from ZEO.ClientStorage import ClientStorage

#: Seconds that catching up may take on a machine that is busy.
LONG = 120

WRITERS = 6

#: What describes a transaction, and oid and digest of each of its records.
Parts = frozenset[bytes]


class Rounds:
    """A primary, a link, a follower, and writers; an error is raised by the round that finds it."""

    def __init__(self, directory: str, seed: int) -> None:
        self.chooser = random.Random(seed)
        self.directory = directory
        self.forks = Child(SERVER, 'support.forked_servers', cwd='/tmp')
        self.primary_address = self.path('p.sock')
        self.follower_address = self.path('f.sock')
        self.pids: dict[str, int] = {}
        self.start('primary')
        self.link = Proxy(self.primary_address)
        # tid -> what it consists of, as it was and is at the primary
        self.known: dict[bytes, set[Parts]] = {}
        self.packed = False  # either side, since the follower's file was begun
        self.packed_here = z64  # up to where the follower was
        self.ended = threading.Event()
        self.write_on = threading.Event()  # cleared while histories are compared
        self.write_on.set()
        self.commits = 0
        self.writers = [
            threading.Thread(target=self.write, args=(seed * 100 + number,), daemon=True)
            for number in range(WRITERS)
        ]

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.directory, name)

    # Processes.

    def start(self, which: str) -> None:
        """Start the primary or the follower."""
        if which == 'primary':
            arguments = {'address': self.primary_address, 'path': self.path('primary.fs')}
        else:
            arguments = {
                'address': self.follower_address,
                'path': self.path('follower.fs'),
                'primary': self.link.address,
            }
        self.pids[which] = self.forks.call('serve', **arguments)

    def kill(self, which: str) -> None:
        """Kill it, and return when it is gone."""
        pid = self.pids.pop(which)
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                time.sleep(0.002)

    # Writers.

    def write(self, seed: int) -> None:
        """Commit, undo, store blobs, over a server that comes and goes."""
        chooser = random.Random(seed)
        while not self.ended.is_set():
            with contextlib.suppress(Exception), contextlib.closing(self.opened()) as storage:
                db = ZODB.DB(storage)
                while not self.ended.is_set():
                    self.write_on.wait(LONG)
                    try:
                        self.write_one(db, chooser)
                    except Exception:  # a conflict, a lost connection: what is done is done
                        transaction.abort()

    def opened(self) -> ClientStorage:
        """Return a client of the primary, with a blob cache of its own."""
        return ClientStorage(
            self.primary_address,
            blob_dir=tempfile.mkdtemp(dir=self.directory),
            wait_timeout=5,
            timeout=20,
            max_disconnect_poll=0.1,
        )

    def write_one(self, db: ZODB.DB, chooser: random.Random) -> None:
        what = chooser.random()
        if what < 0.1:
            found = db.undoLog(0, 4)
            if found:
                db.undo(chooser.choice(found)['id'])
                transaction.commit()
            return
        with db.transaction(note='w') as connection:
            transaction_of = connection.transaction_manager.get()
            transaction_of.setExtendedInfo('k', chooser.random())
            tree = connection.root().get('tree')
            if tree is None:
                tree = connection.root()['tree'] = OOBTree()
            key = str(chooser.randrange(200))
            if what < 0.3:
                tree[key] = Blob(chooser.randbytes(chooser.choice((0, 10, 1000, 200_000))))
            elif what < 0.4:
                tree.pop(key, None)
            elif what < 0.45:
                large = 3_000_000 if chooser.random() < 0.1 else 10_000
                connection.root()['big'] = chooser.randbytes(large)
            elif what < 0.5:
                tree['many'] = PersistentMapping(
                    {n: PersistentMapping(n=chooser.randbytes(50)) for n in range(500)}
                )
            else:
                tree[key] = PersistentMapping(n=chooser.randbytes(chooser.randrange(2000)))
        self.commits += 1

    # What is compared.

    def history(self, path: str) -> list[tuple[bytes, str, Parts]]:
        """Return tid, status and parts of all transactions in a file."""
        found = []
        with contextlib.closing(FileIterator(path)) as transactions:
            for one in transactions:
                parts = {repr((one.user, one.description, one.extension_bytes)).encode()}
                for record in one:
                    parts.add(record.oid + blake2b(record.data or z64, digest_size=16).digest())
                found.append((one.tid, one.status, frozenset(parts)))
        return found

    def learn(self) -> list[bytes]:
        """Note what the primary has now; return the tids."""
        found = self.history(self.path('primary.fs'))
        old = self.path('primary.fs.old')  # as it was before the last pack
        before = self.history(old) if os.path.exists(old) else []
        for tid, _, parts in (*found, *before):
            self.known.setdefault(tid, set()).add(parts)
        return [tid for tid, _, _ in found]

    def check_prefix(self) -> None:
        """Check that the follower's file holds what the primary had, up to some transaction."""
        path = self.path('follower.fs')
        if not os.path.exists(path) or os.path.getsize(path) <= 4:
            return
        follower = self.history(path)
        primary = self.learn()
        for tid, status, parts in follower:
            assert tid in self.known, f'{tid.hex()} is not of the primary'
            if status == 'p':  # a pack may have taken a part of it, on either side
                same = any(parts <= known for known in self.known[tid])
            else:
                same = parts in self.known[tid]
            assert same, f'{tid.hex()} differs'
        has = {tid for tid, _, _ in follower}
        last = max(has, default=z64)
        missing = [
            tid.hex() for tid in primary if self.packed_here < tid <= last and tid not in has
        ]
        assert not missing, f'lacks {missing} of {len(primary)}'
        if not self.packed and 'primary' not in self.pids and 'follower' not in self.pids:
            self.check_bytes(prefix=True)

    def check_bytes(self, prefix: bool = False) -> None:
        """Compare the files to the byte."""
        with (
            open(self.path('primary.fs'), 'rb') as one,
            open(self.path('follower.fs'), 'rb') as two,
        ):
            mine, its = one.read(), two.read()
        if prefix:
            end = ends_at(its)
            assert mine[:end] == its[:end], 'the files differ'
        else:
            assert mine == its, f'the files differ: {len(mine)} and {len(its)} bytes'
            primary, follower = (
                blobs(self.path(f'{name}.fs.blobs')) for name in ('primary', 'follower')
            )
            # a killed primary leaves files of blobs that were never committed
            for path in primary.keys() & self.committed_blobs():
                assert primary[path] == follower.get(path), f'blob {path} differs'

    def committed_blobs(self) -> set[str]:
        """Return what the paths of all blobs would be, below their directory."""
        with contextlib.closing(FileIterator(self.path('primary.fs'))) as transactions:
            return {
                os.path.join(
                    *(f'0x{byte:02x}' for byte in record.oid), f'0x{record.tid.hex()}.blob'
                )
                for one in transactions
                for record in one
            }

    # Rounds.

    def round(self, number: int) -> None:
        """Do some harm, check, and repair it."""
        if number % 20 == 0:
            self.anew()
        faults = self.chooser.choices(
            [self.kill_follower, self.kill_primary, self.kill_both, self.stop, self.cut, self.pack],
            [5, 3, 1, 2, 6, 1],
            k=self.chooser.choice((1, 1, 2)),
        )
        for fault in faults:
            time.sleep(self.chooser.random() * 0.3)
            fault()
            if self.chooser.random() < 0.6:  # what has to be compared should not grow for long
                self.write_on.clear()
            try:
                self.check_prefix()
            finally:
                self.write_on.set()

    def anew(self) -> None:
        """Have the follower begin from nothing."""
        if 'follower' in self.pids:
            self.kill('follower')
        for name in ('follower.fs', 'follower.fs.index', 'follower.fs.replica'):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))
        self.packed, self.packed_here = False, z64
        self.start('follower')

    def kill_follower(self) -> None:
        self.kill('follower')
        self.check_prefix()
        time.sleep(self.chooser.choice((0, 0.1, 0.5)))
        self.start('follower')

    def kill_primary(self) -> None:
        self.kill('primary')
        self.start('primary')

    def kill_both(self) -> None:
        self.kill('primary')
        self.kill('follower')
        self.check_prefix()
        self.start('primary')
        self.start('follower')

    def stop(self) -> None:
        """Let one of them stand still for a moment."""
        pid = self.pids[self.chooser.choice(('primary', 'follower'))]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.chooser.random() * 0.5)
        os.kill(pid, signal.SIGCONT)

    def cut(self) -> None:
        """Cut the link behind some byte."""
        self.link.cut_after(self.chooser.choice((1, 100, 10_000, 1_000_000)))

    def pack(self) -> None:
        """Pack one side, up to what is known of the primary."""
        self.learn()
        until = time.time()
        on_primary = self.chooser.random() < 0.7
        self.packed = True
        if not on_primary:
            # also of what has been committed since then
            made = TimeStamp(*time.gmtime(until)[:5], until % 60).raw()
            self.packed_here = max(made, *self.known)
        address = self.primary_address if on_primary else self.follower_address
        client = None
        try:
            client = ClientStorage(address, wait_timeout=5, read_only=True, timeout=20)
            client.pack(until, None, wait=True)
        except Exception:  # the server is being started, or packs already
            pass
        finally:
            if client is not None:
                client.close()
        self.learn()

    def catch_up(self) -> None:
        """Let the writers rest, and wait until the follower has everything."""
        self.ended.set()
        for writer in self.writers:
            writer.join(LONG)
            assert not writer.is_alive(), 'a writer hangs'
        self.link.cut_after(1 << 60)
        self.link.reset()
        with contextlib.closing(ClientStorage(self.primary_address, read_only=True)) as client:
            client.sync()
            last = client.lastTransaction()
        until = time.monotonic() + LONG
        with contextlib.closing(ClientStorage(self.follower_address, read_only=True)) as client:
            while (found := client.server_status())['last-transaction'] != last.hex():
                assert time.monotonic() < until, found['replica']
                time.sleep(0.05)
        os.kill(self.pids['follower'], signal.SIGTERM)
        self.check_prefix()
        assert set(self.learn()) <= {
            tid for tid, _, _ in self.history(self.path('follower.fs'))
        } | {tid for tid in self.known if tid <= self.packed_here}
        if not self.packed:
            self.check_bytes()

    def run(self, rounds: int, seconds: float = 1e9) -> int:
        """Do the rounds, at most for some seconds; return how many they were."""
        until = time.monotonic() + seconds
        for writer in self.writers:
            writer.start()
        done = 0
        for number in range(rounds):
            if time.monotonic() > until:
                break
            self.round(number)
            done += 1
            if done % 10 == 0:
                size = os.path.getsize(self.path('primary.fs')) >> 20
                print(f'{done} rounds, {self.commits} commits, {size} MB', flush=True)
        self.catch_up()
        return done

    def close(self) -> None:
        """End everything."""
        self.ended.set()
        self.write_on.set()
        for which in list(self.pids):
            with contextlib.suppress(ProcessLookupError):
                self.kill(which)
        for writer in self.writers:
            if writer.ident is not None:
                writer.join(LONG)
        self.link.close()
        self.forks.close()


def ends_at(data: bytes) -> int:
    """Return where the last finished transaction of a file ends."""
    at = 4
    while at + 23 <= len(data):
        length = int.from_bytes(data[at + 8 : at + 16], 'big')
        if data[at + 16 : at + 17] == b'c' or at + length + 8 > len(data):
            break
        at += length + 8
    return at


def blobs(top: str) -> dict[str, bytes]:
    """Return the contents of all committed blobs, by their paths."""
    found = {}
    for directory, _, files in os.walk(top):
        for file in files:
            path = os.path.join(directory, file)
            if file.endswith('.blob') and not directory.startswith(os.path.join(top, 'tmp')):
                with open(path, 'rb') as opened:
                    found[os.path.relpath(path, top)] = opened.read()
    return found


def main() -> None:
    """Do rounds, as many as the command line says."""
    rounds = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    print(f'seed {seed}', flush=True)
    logging.disable(logging.ERROR)  # each kill is reported by each writer
    directory = tempfile.mkdtemp(prefix='zeo-rounds-')
    one = Rounds(directory, seed)
    began = time.monotonic()
    try:
        done = one.run(rounds)
        print(f'{done} rounds, {one.commits} commits, {time.monotonic() - began:.0f} s, all well')
    except BaseException:
        print(f'files are in {directory}')
        raise
    finally:
        one.close()


if __name__ == '__main__':
    main()
