"""``python -m ZEO.scripts.zeopack``: ``zeopack`` under the name that recipes and wrappers import.

Enters: a command line. Leaves: packed storages. Fails: as :mod:`ZEO.commands.zeopack` does.
"""

from __future__ import annotations

import sys

from ZEO.commands import zeopack


def main(*args: str) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    return zeopack.main(args or None)


if __name__ == '__main__':
    sys.exit(main())
