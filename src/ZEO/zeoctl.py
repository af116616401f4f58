"""The control command: zdaemon for a storage server, ``zeoctl -C zeo.conf start``.

Enters: zdaemon's command line and the server's configuration file.  Leaves: what zdaemon does.
Fails: with one line and exit status 2 where zdaemon is not installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ZEO.version import version

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'zeoctl.xml')


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    :param args: the command line without the command's name; the process's own by default.
    :raises SystemExit: with status 2 when zdaemon is missing, and as zdaemon does.
    """
    args = list(sys.argv[1:] if args is None else args)
    if '--version' in args:
        print(f'ZEO {version()}')
        return
    try:
        from zdaemon.zdctl import main as control
    except ImportError:
        print(
            'zeoctl: it needs zdaemon: run  pip install zdaemon, or have systemd or '
            'another supervisor run  runzeo -C FILE',
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    control(['-S', SCHEMA, *args])


if __name__ == '__main__':
    main()
