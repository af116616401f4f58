"""``zeo-cache trace`` under its name in ZEO 5 and 6: ``python -m ZEO.scripts.cache_stats``.

Enters: a command line with a trace file and perhaps ``-v``. Leaves: what that command prints, and
its exit status. Fails: as :mod:`ZEO.commands.zeo_cache` does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ZEO.commands import zeo_cache
from ZEO.commands.options import Parser


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = Parser(
        'cache_stats', description='Sum up the trace of a client cache, as zeo-cache trace does.'
    )
    made.add_argument('file', help='trace file (.zec.trace)')
    made.add_argument('-v', '--verbose', action='store_true', help='print every event')
    return made.run(
        lambda options: zeo_cache.main(
            ['trace', *(['--events'] if options.verbose else []), options.file]
        ),
        args,
    )


if __name__ == '__main__':
    sys.exit(main())
