"""The command ``zeo backup``: backs up a database into a directory, full or what is new.

Enters: a database, and the directory. Leaves: a backup that can be restored at any moment, however
the command ends, and a line about it. Fails: with one line that says what to do, and an exit
status.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from ZODB.utils import z64

from ZEO.commands import data_switches as switches
from ZEO.commands.options import Parser
from ZEO.commands.zeo_verify import verify_backup
from ZEO.data.backups import Backup, Made
from ZEO.data.copying import cut_short
from ZEO.data.history import named
from ZEO.data.manifest import locked
from ZEO.data.outcome import DONE, WRONG
from ZEO.data.targets import open_source, parse
from ZEO.progress import Progress
from ZEO.serving.moments import lasted, size


def parser() -> Parser:
    """Return what reads the command line."""
    made = switches.parser(
        'zeo backup',
        'Back up a database into a directory, with blobs, while it is in use: '
        'everything the first time, and after a pack; else what has come since. The backup holds '
        'what was committed when the command began. It can be stopped at any moment: what the '
        'directory held before stays valid, and the next backup goes on.',
    )
    made.add_argument('target', metavar='TARGET', help='the database')
    made.add_argument('directory', metavar='DIR', help='the directory; it is made if it is missing')
    switches.add_blobs(made, 'leave the files of blobs out')
    made.add_argument('--full', action='store_true', help='back everything up again')
    made.add_argument(
        '--keep',
        metavar='N',
        type=_positive,
        help='remove older backups when this one is done: keep the last N full ones, and what '
        'belongs to them; without it all are kept',
    )
    made.add_argument(
        '--verify',
        action='store_true',
        help='read the whole backup afterwards, and compare it with its checksums',
    )
    switches.add_reaching(made)
    return made


def _positive(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f'{text!r} is not a number above zero')


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return switches.run(made, lambda options: _backup(made, options), args)


def _backup(made: Parser, options: Any) -> int:
    target, directory = parse(options.target, options.blobs), options.directory
    os.makedirs(directory, 0o700, exist_ok=True)
    with locked(directory):
        with closing(open_source(target, switches.way(options, 'zeo backup'))) as source:
            with switches.progress(options, 'backup', source.size()) as shown:
                backup = Backup(source, directory, shown, not options.no_blobs)
                with cut_short(lambda: backup.last):
                    done = backup.run(options.full, options.keep)
        for line in summary(directory, done, shown):
            switches.report(options, line)
        for line in done.missing.lines():
            made.warn(line)
        status = WRONG if done.missing else DONE
        if options.verify:
            status = max(status, verify_backup(made, options, directory))
    return status


def summary(directory: str, done: Made, shown: Progress) -> list[str]:
    """Return the lines about a backup that is done."""
    last = named(done.set.last_tid)
    if done.set.last_tid == z64:
        last = 'now: the database is empty'
    what = f'full backup ({done.why})' if done.full else 'what is new'
    lines = [
        f'{directory}: {what}: {shown.counts()} in {lasted(shown.seconds)}, up to {last}'
        if shown.transactions
        else f'{directory}: nothing is new, up to {last}'
    ]
    if done.removed:
        lines.append(f'{directory}: removed {", ".join(done.removed)}')
    lines.append(f'{directory}: set {done.set.name} has {size(done.set.size)}')
    return lines


if __name__ == '__main__':
    sys.exit(main())
