"""The command ``zeo copy``: copies a database into another one, and goes on where it ended.

Enters: two databases: servers, files, or sections of configurations. Leaves: the transactions of
the first in the second, and a line about them. Fails: with one line that says what to do, and an
exit status that says whether the same command goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from ZODB.utils import z64

from ZEO.commands import data_switches as switches
from ZEO.commands.options import Parser
from ZEO.data import copying
from ZEO.data.destinations import Destination
from ZEO.data.history import named
from ZEO.data.outcome import DONE, WRONG, Findings
from ZEO.data.sources import Source
from ZEO.data.targets import open_destination, open_source, parse
from ZEO.progress import Progress
from ZEO.serving.moments import lasted


def parser() -> Parser:
    """Return what reads the command line."""
    made = switches.parser(
        'zeo copy',
        'Copy all transactions of a database into another one, with their blobs: '
        'records, texts and extensions, undos, deleted objects. If the destination holds the '
        'beginning of the source already, only what is missing is copied; a copy that was '
        'stopped in any way goes on. What is committed meanwhile is for the next copy.',
    )
    made.add_argument('source', metavar='SRC', help='the database to read')
    made.add_argument(
        'destination', metavar='DST', help='the database to write: empty, or an earlier copy'
    )
    add_blobs(made)
    made.add_argument(
        '--skip-lost-blobs',
        action='store_true',
        help='go on where a blob of SRC has no file: its record is copied, it is named, and the '
        'exit status is 1',
    )
    made.add_argument(
        '--verify', action='store_true', help='compare everything afterwards, blobs included'
    )
    switches.add_reaching(made)
    return made


def add_blobs(made: Parser) -> None:
    """Add the switches for the blobs of files."""
    made.add_argument(
        '--blobs', metavar='DIRECTORY', help='the blob directory of SRC, if that is a file'
    )
    made.add_argument(
        '--to-blobs', metavar='DIRECTORY', help='the blob directory of DST, if that is a file'
    )
    made.add_argument(
        '--no-blobs', action='store_true', help='copy the records of blobs without their files'
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return switches.run(made, lambda options: _copy(made, options), args)


def _copy(made: Parser, options: Any) -> int:
    reached = switches.way(options, 'zeo copy')
    source, target = (
        parse(options.source, options.blobs),
        parse(options.destination, options.to_blobs),
    )
    with closing(open_source(source, reached)) as opened:
        opened.lost = Findings() if options.skip_lost_blobs else None
        with closing(open_destination(target, reached)) as destination:
            with switches.progress(options, 'copy', opened.size()) as shown:
                done = copying.copy(opened, destination, shown, None, not options.no_blobs)
            switches.report(options, summary(destination.name, done, shown))
            if options.verify:
                verify(options, opened, destination, done.last)
        return name_lost(made, opened)


def name_lost(made: Parser, source: Source) -> int:
    """Print which blobs were left out, since they have no file; return the exit status."""
    for line in source.lost.lines() if source.lost else ():
        made.warn(line)
    return WRONG if source.lost else DONE


def summary(name: str, done: copying.Copied, shown: Progress) -> str:
    """Return the line about a copy that is done."""
    if done.last == z64:
        return f'{name}: nothing to copy: the source is empty'
    if done.last == done.before:
        return f'{name}: has everything, up to {named(done.last)}'
    return f'{name}: {shown.counts()} in {lasted(shown.seconds)}, up to {named(done.last)}'


def verify(options: Any, source: Source, destination: Destination, last: bytes) -> None:
    """Compare a copy with its source, and print that it is the same.

    :raises Different: when it is not.
    """
    with switches.progress(options, 'verify', source.size()) as shown:
        found = copying.verify(source, destination, last, shown, not options.no_blobs)
    gone = f'; {found.gone} are no longer in {source.name}' if found.gone else ''
    switches.report(
        options,
        f'{destination.name}: verified: {found.same} transactions are the same{gone}'
        + (f', {shown.blobs} blobs' if shown.blobs else ''),
    )


if __name__ == '__main__':
    sys.exit(main())
