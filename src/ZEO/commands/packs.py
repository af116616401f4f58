"""Packs of several storages, and how far they are.

Enters: storages of servers, and up to when. Leaves: packed storages, a line about each on standard
output, and on standard error how far the packs are. Fails: with a line for each storage that could
not be packed, after which the next is packed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from ZODB.POSException import POSError

from ZEO.ClientStorage import ClientStorage
from ZEO.commands.options import LONGEST_LINE
from ZEO.commands.reaching import Reaching
from ZEO.data.patience import opened
from ZEO.net.addresses import show
from ZEO.net.system import REAL
from ZEO.progress import Doing
from ZEO.serving.moments import iso, lasted, size
from ZEO.wire.quoting import cleaned

NAME = 'zeopack'

#: Seconds to wait for a server by default.
WAIT = 30.0

#: Seconds between two looks at what has ended.
_LOOK = 0.1

#: Seconds between two questions how far the packs are: on a terminal, and elsewhere, since a pack
#: takes hours, and the lines go into the mail of a nightly job.
_ON_TERMINAL, _ELSEWHERE = 1.0, 60.0

#: Seconds that a server may take to say how far it is.
_STATUS = 5.0


class Target(NamedTuple):
    """One storage to pack."""

    addresses: tuple[Any, ...]  # of one server, any of which may reach it
    storage: str

    def __str__(self) -> str:
        return f'storage {self.storage} of {show(self.addresses[0])}'


class Job(NamedTuple):
    """What is to be done with each storage."""

    time: float  # to pack to, in seconds since the epoch
    reaching: Reaching  # how its server is reached
    name: str = NAME  # of the command, in lines on standard error
    at_once: int = 1  # how many servers pack at the same time
    quiet: bool = False  # whether to print only what goes wrong


class Pack:
    """The pack of one storage.

    :param target: the storage.
    :param job: what is to be done.
    """

    def __init__(self, target: Target, job: Job) -> None:
        self.target, self._job = target, job
        self._client: ClientStorage | None = None  # while it packs
        self._began = 0.0
        self.has_begun = self.has_ended = self._is_stopped = False
        self.line = ''  # about what it has done
        self.error = ''  # or why it could not

    def run(self) -> None:
        """Pack, and wait until that is done."""
        if self._is_stopped:
            return
        self.has_begun = True
        try:
            self._client = self._opened()
            self.line = self._packed(self._client)
        except Exception as error:  # whatever it is: the next storage is packed
            text = ' '.join(str(error).split()) or type(error).__name__
            self.error = f'{self.target}: {text}'
        finally:
            self.stop()
            self.has_ended = True

    def stop(self) -> None:
        """Wait no longer for it. What its server has begun goes on there."""
        self._is_stopped = True
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _packed(self, client: ClientStorage) -> str:
        self._began, before = REAL.now(), client.getSize()
        client.pack(self._job.time, wait=True)
        return (
            f'{self.target}: packed to {iso(self._job.time)} in '
            f'{lasted(REAL.now() - self._began)}, from {size(before)} to {size(client.getSize())}'
        )

    def _opened(self) -> ClientStorage:
        """Return a client of the storage; print the reason if that takes long."""
        wait = self._job.reaching.timeout
        return opened(self._open, wait, lambda line: _warn(self._job, f'{self.target}: {line}'))

    def _open(self, wait: float) -> ClientStorage:
        # Read-only, since a read-only server can be packed as well.
        return ClientStorage(
            list(self.target.addresses),
            self.target.storage,
            cache_size=2**20,
            read_only=True,
            wait_timeout=wait,
            client_label='zeopack',
            **self._job.reaching.of_client,
        )

    def state(self) -> str:
        """Return how far it is."""
        client = self._client
        if client is None or not self._began:
            return f'{self.target}: connecting'
        done = None
        with suppress(POSError, ValueError):  # it has just ended, or its server is away
            status = client.server_status(timeout=_STATUS)
            done = status.get('pack-progress') if isinstance(status, dict) else None
        part = f'{100 * done:.0f} % ' if isinstance(done, float) else ''
        return f'{self.target}: {part}after {lasted(REAL.now() - self._began)}'


def _warn(job: Job, line: str) -> None:
    print(f'{job.name}: {cleaned(line, LONGEST_LINE)}', file=sys.stderr, flush=True)


def pack_all(wanted: list[Target], job: Job) -> int:
    """Pack storages, those of one server one after the other, and print a line about each.

    :returns: how many could not be packed.
    """
    packs = [Pack(target, job) for target in wanted]
    servers: dict[Any, list[Pack]] = {}
    for pack in packs:
        servers.setdefault(pack.target.addresses, []).append(pack)
    groups = iter(list(servers.values()))
    for number in range(min(job.at_once, len(servers))):
        REAL.spawn(f'{NAME} {number + 1}', _pack_groups, groups)
    try:
        with Doing(job.quiet, _ON_TERMINAL, _ELSEWHERE) as doing:
            _watch(packs, job, doing)
    finally:
        for pack in packs:
            pack.stop()
    return sum(bool(pack.error) for pack in packs)


def _pack_groups(groups: Iterator[list[Pack]]) -> None:
    """Pack what is in the next groups; several threads share them."""
    for group in groups:
        for pack in group:
            pack.run()


def _watch(packs: list[Pack], job: Job, doing: Doing) -> None:
    """Say what has ended, and how far the others are, until there are none."""
    left = list(packs)
    while left:
        for pack in [one for one in left if one.has_ended]:
            left.remove(pack)
            doing.close()  # before a line that stays
            _report(pack, job)
        if left:
            REAL.sleep(_LOOK)
        if doing.is_due():
            states = [pack.state() for pack in left if pack.has_begun and not pack.has_ended]
            ended = len(packs) - len(left)
            count = f' ({ended} of {len(packs)} done)' if len(packs) > 1 else ''
            doing.update(f'{job.name}{count}: {"; ".join(states)}' if states else '')


def _report(pack: Pack, job: Job) -> None:
    if pack.error:
        _warn(job, pack.error)
    elif not job.quiet:
        print(pack.line, flush=True)
