"""The command ``zeo verify``: is everything in a database whole?

Enters: a database: a server, a file, or a section of a configuration; or the directory of a backup.
Leaves: lines about what is in it, and exit status 0. Fails: with lines about what is damaged, and
exit status 1; 2 for what cannot be opened.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from ZEO.commands.data_switches import (
    NAMES,
    STATUSES,
    add_reaching,
    progress,
    report,
    run,
    warn,
    way,
)
from ZEO.commands.options import Parser, program
from ZEO.data.copying import cut_short
from ZEO.data.outcome import DONE, WRONG
from ZEO.data.sources import Source
from ZEO.data.targets import open_source, parse
from ZEO.data.verifying import Report, Verification, blobs_unknown, passes
from ZEO.serving.moments import lasted, size


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo verify'),
        description='Verify a database: the structure of a file and its index, the order of '
        'transactions, that every object can be read and every reference leads to an object, that '
        'every blob has its file, and every file in the blob directory its blob. Objects are read '
        'without running any code. Objects that nothing leads to are counted.',
        epilog=f'{NAMES} {STATUSES}',
    )
    made.add_argument('target', metavar='TARGET', help='the database')
    made.add_argument(
        '--blobs', metavar='DIRECTORY', help='the blob directory, if TARGET is a file'
    )
    made.add_argument('--no-blobs', action='store_true', help='do not look at the files of blobs')
    made.add_argument(
        '--history',
        action='store_true',
        help='read every revision of every object, not only the last ones',
    )
    add_reaching(made)
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return run(made, lambda options: _verify(made, options), args)


def _verify(made: Parser, options: Any) -> int:
    target = parse(options.target, options.blobs)
    with closing(open_source(target, way(options, 'zeo verify'))) as source:
        blobs = not (options.no_blobs or blobs_unknown(source))
        with progress(options, 'verify', passes(source)) as shown, cut_short(lambda: bytes(8)):
            found = Verification(source, shown, blobs, options.history).run()
    for line in found.findings.lines():
        warn(made, line)
    for line in lines(source, found, shown.seconds, blobs):
        report(options, line)
    return WRONG if found.findings else DONE


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
    count = len(found.findings)
    faults = '1 fault' if count == 1 else f'{count or "no"} faults'
    made.append(f'{faults}, verified in {lasted(seconds)}')
    return made


if __name__ == '__main__':
    sys.exit(main())
