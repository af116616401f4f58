"""Zope instances whose two processes share one database on a ZEO server, configured in one of three
ways.

Enters: a directory, the Python that has Zope, the server's port. Leaves: an instance made by
``mkwsgiinstance``, with a ``zope.conf`` and a ``zope.ini`` for each process. Fails: as the commands
do.
"""

from __future__ import annotations

from pathlib import Path

from support.browser import PASSWORD, USER
from support.environments import run

CUSTOM_ZODB = """\
import ZEO.ClientStorage
Storage=ZEO.ClientStorage.ClientStorage(('',{port}))
"""
# Zope's management pages show the databases of zope.conf; this entry gives them that of
# custom_zodb, which has ZODB's default name. Its own storage is never opened.
UNNAMED = """\
<zodb_db unnamed>
  <mappingstorage>
  </mappingstorage>
  mount-point /
</zodb_db>
"""
ZEOCLIENT = """\
<zodb_db main>
  <zeoclient>
    server 127.0.0.1:{port}
    storage 1
    name zeostorage
    var {instance}/var
    {client}
    cache-size 20MB
  </zeoclient>
  mount-point /
</zodb_db>
"""
CLIENTSTORAGE = """\
%import ZEO
<zodb_db main>
  <clientstorage>
    server 127.0.0.1:{port}
    storage 1
    name zeostorage
    {cache}
    cache-size 20MB
    wait-timeout 30
    server-sync true
  </clientstorage>
  mount-point /
</zodb_db>
"""
WAYS = ('custom_zodb', 'zeoclient', 'clientstorage')
INI = """\
[app:main]
use = egg:Zope#main
zope_conf = {conf}
[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = {http}
threads = 2
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(asctime)s %(levelname)s %(name)s %(message)s
"""


def make_instance(python: Path, instance: Path) -> None:
    """Make a Zope instance with a first user in it."""
    run([python.parent / 'mkwsgiinstance', '-d', instance, '-u', f'{USER}:{PASSWORD}'])


def configure(instance: Path, way: str, server: int, name: str, http: int) -> Path:
    """Write the configuration of one process and return its zope.ini.

    :param way: one of WAYS.
    :param server: the ZEO server's port.
    :param name: the name of the process's cache; empty: a cache that is not kept.
    :param http: the port that waitress is to listen on.
    """
    etc = instance / 'etc'
    conf = etc / f'zope-{name or "nameless"}.conf'
    text = f'instancehome {instance}\n'
    if way == 'custom_zodb':
        text += UNNAMED
        (instance / 'custom_zodb.py').write_text(CUSTOM_ZODB.format(port=server))
    elif way == 'zeoclient':
        text += ZEOCLIENT.format(
            port=server, instance=instance, client=f'client {name}' if name else ''
        )
    else:
        text += CLIENTSTORAGE.format(
            port=server, cache=f'cache-path {instance}/var/{name}-1.zec' if name else ''
        )
    conf.write_text(text)
    ini = etc / f'zope-{name or "nameless"}.ini'
    ini.write_text(INI.format(conf=conf, http=http))
    return ini
