"""The control command: zdaemon for a storage server, ``zeoctl -C zeo.conf start``.

Enters: zdaemon's command line and the server's configuration file. Leaves: what zdaemon does.
Fails: with one line on standard error and exit status 2, when the command line or the configuration
file is wrong, or zdaemon is not installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import ZConfig

from ZEO.commands.options import complain
from ZEO.config.loading import explained
from ZEO.version import version

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'zeoctl.xml')


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    :param args: the command line without the command's name; the process's own by default.
    :raises SystemExit: with status 2 when zdaemon is missing or the command line or the
        configuration is wrong, and as zdaemon does.
    """
    args = list(sys.argv[1:] if args is None else args)
    if '--version' in args:
        print(f'ZEO {version()}')
        return
    try:
        from zdaemon import zdctl
    except ImportError:
        _fail(
            'zdaemon is not installed: run  pip install zdaemon, or have systemd or another '
            'supervisor run  runzeo -C FILE'
        )
    zdctl.main(['-S', SCHEMA, *args], _options(zdctl.ZDCtlOptions))


def _options(ZDCtlOptions: Any) -> Any:
    """Return zdaemon's options, which report what is wrong in one line.

    :param ZDCtlOptions: zdaemon's class of them.
    """

    class Options(ZDCtlOptions):
        __doc__ = ZDCtlOptions.__doc__  # is printed for --help

        def load_configfile(self) -> None:
            try:
                super().load_configfile()
            except ZConfig.ConfigurationError as error:
                _fail(explained(error, self.configfile))

        def usage(self, msg: object) -> NoReturn:
            _fail(f'{msg}; see zeoctl --help')

    return Options()


def _fail(text: str) -> NoReturn:
    complain('zeoctl', text)
    raise SystemExit(2)


if __name__ == '__main__':
    main()
