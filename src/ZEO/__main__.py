"""``python -m ZEO``: the command ``zeo``.

Enters: its command line. Leaves: its exit status. Fails: as :mod:`ZEO.commands.zeo` does.
"""

import sys

from ZEO.commands.zeo import main

if __name__ == '__main__':
    sys.exit(main())
