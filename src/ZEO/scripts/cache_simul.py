"""``zeo-cache simulate`` under its name in ZEO 5 and 6: ``python -m ZEO.scripts.cache_simul``.

Enters: a command line with a trace file and perhaps a size. Leaves: what that command prints, and
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
        'cache_simul', description='Replay the trace of a client cache, as zeo-cache simulate does.'
    )
    made.add_argument('file', help='trace file (.zec.trace)')
    made.add_argument(
        '-s', '--size', metavar='MB', default='20', help='the size of the cache; the default is 20'
    )
    return made.run(
        lambda options: zeo_cache.main(['simulate', options.file, '--sizes', f'{options.size}MB']),
        args,
    )


if __name__ == '__main__':
    sys.exit(main())
