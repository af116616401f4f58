"""The command ``zeo verify``: is everything in a database whole?

Enters: a database: a server, a file, or a section of a configuration; or the directory of a backup.
Leaves: lines about what is in it, and exit status 0. Fails: with lines about what is damaged, and
exit status 1; 2 for what cannot be opened.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from ZEO.commands import data_switches as switches
from ZEO.commands.options import Parser
from ZEO.data import restoring
from ZEO.data.copying import cut_short
from ZEO.data.history import named
from ZEO.data.manifest import OLD, Set, load, locked
from ZEO.data.outcome import DONE, WRONG, Findings
from ZEO.data.sources import Source
from ZEO.data.targets import open_source, parse
from ZEO.data.verifying import Report, Verification, blobs_unknown, passes
from ZEO.serving.moments import lasted, size


def parser() -> Parser:
    """Return what reads the command line."""
    made = switches.parser(
        'zeo verify',
        'Verify a database: the structure of a file and its index, the order of '
        'transactions, that every object can be read and every reference leads to an object, that '
        'every blob has its file, and every file in the blob directory its blob. Objects are read '
        'without running any code. Objects that nothing leads to are counted.',
    )
    made.add_argument('target', metavar='TARGET', help='the database, or the directory of a backup')
    switches.add_blobs(made, 'do not look at the files of blobs')
    made.add_argument(
        '--history',
        action='store_true',
        help='read every revision of every object, not only the last ones',
    )
    switches.add_reaching(made)
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return switches.run(made, lambda options: _verify(made, options), args)


def _verify(made: Parser, options: Any) -> int:
    if os.path.isdir(options.target):
        load(options.target)  # before a lock is put into a directory of other things
        with locked(options.target, reads=True):
            return verify_backup(made, options, options.target)
    target = parse(options.target, options.blobs)
    with closing(open_source(target, switches.way(options, 'zeo verify'))) as source:
        blobs = not (options.no_blobs or blobs_unknown(source))
        with (
            switches.progress(options, 'verify', passes(source)) as shown,
            cut_short(lambda: bytes(8)),
        ):
            found = Verification(source, shown, blobs, options.history).run()
    for line in found.findings.lines():
        made.warn(line)
    for line in lines(source, found, shown.seconds, blobs):
        switches.report(options, line)
    return WRONG if found.findings else DONE


def verify_backup(made: Parser, options: Any, directory: str) -> int:
    """Verify the directory of a backup; return the exit status."""
    manifest = load(directory)
    if os.path.exists(manifest.path(OLD)):
        load(directory, OLD)
    with switches.progress(options, 'verify', sum(one.size for one in manifest.sets)) as shown:
        found = restoring.verify(manifest, shown)
    for line in found.lines():
        made.warn(line)
    for one in manifest.sets:
        switches.report(options, f'{directory}: {set_line(one)}')
    switches.report(options, f'{directory}: {_faults(found)}, verified in {lasted(shown.seconds)}')
    return WRONG if found else DONE


def set_line(one: Set) -> str:
    """Return the line about one set of a backup."""
    if not one.parts:
        return f'set {one.name} has nothing in it'
    first, last = (named(bytes.fromhex(tid)) for tid in (one.parts[0].first, one.parts[-1].last))
    return (
        f'set {one.name} of {one.source}: {sum(part.transactions for part in one.parts)} '
        f'transactions, {sum(part.blobs for part in one.parts)} blobs, {size(one.size)}, '
        f'from {first} to {last}' + ('' if one.whole else ', not whole: the backup was stopped')
    )


def _faults(found: Findings) -> str:
    count = len(found)
    return '1 fault' if count == 1 else f'{count or "no"} faults'


def lines(source: Source, found: Report, seconds: float, blobs: bool) -> list[str]:
    """Return the lines about a database that was verified.

    :param seconds: how long that took.
    :param blobs: whether its blobs were looked at.
    """
    made = [
        f'{source.name}: {found.transactions} transactions, {found.records} records, '
        f'{found.objects} objects'
    ]
    if blobs:
        made[0] += f', {found.blobs} blobs of {size(found.blob_bytes)}'
    elif blobs_unknown(source):
        made.append('blobs were not looked at: give their directory with --blobs')
    if found.garbage:
        made.append(
            f'{found.garbage} objects of {size(found.garbage_bytes)} cannot be reached from the '
            'root: a pack removes them'
        )
    made += found.notes
    made.append(f'{_faults(found.findings)}, verified in {lasted(seconds)}')
    return made


if __name__ == '__main__':
    sys.exit(main())
