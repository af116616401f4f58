"""The command ``zeo restore``: makes a database of a backup, as it was last or at a moment.

Enters: the directory of a backup, of ``zeo backup`` or of repozo, and an empty database. Leaves:
the database, and a line about it. Fails: with one line that says what to do, and an exit status; a
file is not there before all of it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from ZEO.commands import data_switches as switches
from ZEO.commands.options import Parser
from ZEO.commands.zeo_copy import name_lost, summary, verify
from ZEO.data import copying
from ZEO.data.digests import sync_directory
from ZEO.data.manifest import is_backup, load, locked
from ZEO.data.outcome import DataError, Findings
from ZEO.data.repozo import RepozoSource, is_repozo
from ZEO.data.restoring import BackupSource, choose, moment
from ZEO.data.sources import Source
from ZEO.data.targets import Target, open_destination, parse
from ZEO.files import remove_if_there

#: What the name of a file ends with until all of it is there.
UNFINISHED = '.restoring'


def parser() -> Parser:
    """Return what reads the command line."""
    made = switches.parser(
        'zeo restore',
        'Make a database of a backup, of zeo backup or of repozo. Nothing is '
        'overwritten: the database has to be empty, or one that this command has begun to restore. '
        'Every file of the backup is compared with its checksum before it is used.',
    )
    made.add_argument('directory', metavar='DIR', help='the directory of the backup')
    made.add_argument('destination', metavar='DST', help='the database to write')
    made.add_argument(
        '--at',
        metavar='MOMENT',
        help='restore what was there then: a time such as 2026-11-26T03:30:00, in UTC, or the 16 '
        'hexadecimal digits of the last transaction to restore; the default is all',
    )
    made.add_argument(
        '--to-blobs', metavar='DIRECTORY', help='the blob directory of DST, if that is a file'
    )
    made.add_argument(
        '--blobs',
        metavar='DIRECTORY',
        help='a copy of the blob directory, for a backup of repozo, which has none',
    )
    made.add_argument('--no-blobs', action='store_true', help='leave the files of blobs out')
    made.add_argument(
        '--verify', action='store_true', help='compare everything with the backup afterwards'
    )
    switches.add_reaching(made)
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return switches.run(made, lambda options: _restore(made, options), args)


def _restore(made: Parser, options: Any) -> int:
    at = None if options.at is None else moment(options.at)
    target = parse(options.destination, options.to_blobs)
    with _source(options, at, target) as source, _unfinished(target) as begun:
        with closing(open_destination(begun, switches.way(options, 'zeo restore'))) as destination:
            destination.name = target.name
            with switches.progress(options, 'restore', source.size()) as shown:
                done = copying.copy(source, destination, shown, None, not options.no_blobs)
            switches.report(options, summary(target.name, done, shown))
            if options.verify:
                verify(options, source, destination, done.last)
        return name_lost(made, source)


@contextmanager
def _source(options: Any, at: bytes | None, target: Target) -> Iterator[Source]:
    directory = options.directory
    if is_backup(directory):
        if options.blobs is not None:
            raise DataError(f'{directory} has its own blobs: leave --blobs out')
        with locked(directory, reads=True):
            manifest = load(directory)
            yield BackupSource(manifest, choose(manifest, at), at)
    elif is_repozo(directory):
        beside = None if target.path is None else os.path.dirname(os.path.abspath(target.path))
        with closing(RepozoSource(directory, at, options.blobs, beside)) as source:
            source.lost = None if options.blobs is None else Findings()
            yield source
    else:
        raise DataError(
            f'{directory} is not the directory of a backup: it has neither zeo-backup.json nor '
            'files of repozo'
        )


@contextmanager
def _unfinished(target: Target) -> Iterator[Target]:
    """Return where a file is written until all of it is there; then it gets its name.

    :raises DataError: when there is something already.
    """
    path = target.path
    if path is None:
        yield target
        return
    beside = f'{path}{UNFINISHED}'
    if os.path.exists(path):
        raise DataError(f'{path} exists: move it away, or restore to another path')
    if target.blobs and _has_blobs(target.blobs) and not os.path.exists(beside):
        raise DataError(f'{target.blobs} has blobs in it: give an empty directory with --to-blobs')
    yield replace(target, path=beside)
    if os.path.exists(path):  # a server was started meanwhile
        raise DataError(f'{path} exists now: what was restored is in {beside}')
    os.rename(f'{beside}.index', f'{path}.index')
    os.rename(beside, path)
    for ending in '.lock', '.tmp':
        remove_if_there(beside + ending)
    sync_directory(os.path.dirname(os.path.abspath(path)))


def _has_blobs(directory: str) -> bool:
    return any(name.endswith('.blob') for _, _, names in os.walk(directory) for name in names)


if __name__ == '__main__':
    sys.exit(main())
