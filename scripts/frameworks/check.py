#!/usr/bin/env python3
"""Run real frameworks on this checkout's ZEO.

    scripts/frameworks/check.py all checks scripts/frameworks/check.py zope pyramid some of them
    scripts/frameworks/check.py --peer-server zope Zope with this ZEO on a server of ZEO 6
    scripts/frameworks/check.py --peer-client zope Zope with ZEO 6 on this server

Each check runs in virtual environments of its own, which are made with pip in the work directory
(.test-env-frameworks in the checkout, or --work DIR) and are kept for the next run. All processes
listen on 127.0.0.1 or on Unix sockets and end with the check. Exit code 0: nothing failed; 1:
something did; 2: the command line is wrong.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from convert_check import check_relstorage, check_tools  # noqa: E402
from environments import TOP, Environments  # noqa: E402
from plone_check import check_plone  # noqa: E402
from pyramid_check import check_pyramid  # noqa: E402
from report import Report  # noqa: E402
from shootout_check import check_zodbshootout  # noqa: E402
from zope_check import check_zope  # noqa: E402


class Run:
    """What the checks of one run share."""

    def __init__(self, options: argparse.Namespace, report: Report, scratch: Path) -> None:
        self.report = report
        self.environments = Environments(options.work.resolve(), report, options.source)
        self.server = 'peer' if options.peer_server else 'ours'
        self.client = 'peer' if options.peer_client else 'ours'
        self.scratch = scratch
        names = {'ours': 'this ZEO', 'peer': 'ZEO 6'}
        self.sides = f'{names[self.client]} on {"a server of " + names[self.server]}'

    def python(self, framework: str, side: str) -> Path:
        return self.environments.python(framework, side)


def zope(run: Run) -> None:
    run.report.section('Zope: environments')
    with run.report.guard():
        server, client = run.python('zope', run.server), run.python('zope', run.client)
        check_zope(
            run.report, run.scratch / 'zope', server, client, run.sides, run.client == 'ours'
        )


CHECKS: dict[str, Callable[[Run], None]] = {
    'zope': zope,
    'plone': check_plone,
    'pyramid': check_pyramid,
    'zodbshootout': check_zodbshootout,
    'relstorage': check_relstorage,
    'tools': check_tools,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'checks', nargs='*', metavar='check', help=f'one of {", ".join(CHECKS)}; none means all'
    )
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument(
        '--peer-server', action='store_true', help='take ZEO 6 from PyPI as the server'
    )
    ends.add_argument(
        '--peer-client', action='store_true', help='take ZEO 6 from PyPI as the client'
    )
    parser.add_argument(
        '--work',
        type=Path,
        default=TOP / '.test-env-frameworks',
        help='where the environments are kept',
    )
    parser.add_argument(
        '--source', type=Path, default=TOP, help='another checkout to build ZEO from'
    )
    options = parser.parse_args()
    unknown = set(options.checks) - set(CHECKS)
    if unknown:
        parser.error(f'no such check: {", ".join(sorted(unknown))}; there are {", ".join(CHECKS)}')
    return options


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    report = Report()
    with tempfile.TemporaryDirectory(prefix='zeo-') as scratch:
        run = Run(options, report, Path(scratch))
        for name in options.checks or CHECKS:
            CHECKS[name](run)
    return report.summary()


if __name__ == '__main__':
    sys.exit(main())
