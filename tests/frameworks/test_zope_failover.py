"""Real Zope on a primary and a follower: two processes go on when the primary is killed and the
follower is promoted, with no change of their configuration.
"""

from __future__ import annotations

import contextlib
import time

import pytest

from support.browser import Browser, comes, failures
from support.environments import CannotInstall
from support.processes import free_ports, listens
from support.sites import configure, make_instance

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1200)]

FOLLOWER = """\
%import ZEO
<zeo>
  address 127.0.0.1:{port}
</zeo>
<replica 1>
  server 127.0.0.1:{primary}
  path {directory}/replica.fs
  blob-dir {directory}/replica-blobs
</replica>
"""


@pytest.mark.parametrize('prefer', ['replica', 'primary'])
def test_zope_goes_on_when_its_primary_is_killed(processes, environments, prefer, tmp_path):
    try:
        python = environments.python('zope', 'ours')
    except CannotInstall as error:
        pytest.skip(str(error))
    primary_port, follower_port, *http = free_ports(4)
    primary = processes.serve(python, primary_port)
    follower(processes, python, primary_port, follower_port)
    instance = tmp_path / 'instance'
    make_instance(python, instance)
    with contextlib.ExitStack() as stack:
        first, second = (
            zope(stack, processes, python, instance, prefer, (primary_port, follower_port), *one)
            for one in zip(('one', 'two'), http, strict=True)
        )
        first.post('manage_addProduct/OFSP/addDTMLMethod', id='page', title='A page', file='before')
        comes(lambda: second.get('page'), 'before')
        primary.kill()
        reads = failures(lambda: second.get('page'))
        began = time.monotonic()
        processes.start(python.parent / 'zeo', 'promote', f'127.0.0.1:{follower_port}').end()
        promoted = time.monotonic()
        for number, (writer, reader) in enumerate([(first, second), (second, first)]):
            text = f'after {number}'
            failures(lambda w=writer, t=text: w.post('page/manage_edit', title='A page', data=t))
            comes(lambda r=reader, t=text: r.get('page'), text)
            if not number:
                again = time.monotonic()
        print(
            f'prefer {prefer}: {reads} reads failed; zeo promote took {promoted - began:.1f} s, '
            f'and the first write was answered {again - promoted:.1f} s later'
        )
        assert 'after 1' in first.get('page')


def follower(processes, python, primary, port):
    """Start it, and wait until it has everything."""
    text = FOLLOWER.format(port=port, primary=primary, directory=processes.directory)
    (processes.directory / 'follower.conf').write_text(text)
    server = processes.start(python.parent / 'runzeo', '-C', 'follower.conf')
    server.wait_until(lambda: listens(('127.0.0.1', port)))
    server.errors.wait_for('has everything')


def zope(stack, processes, python, instance, prefer, servers, name, http):
    """Start a process of Zope that knows both servers; return a browser of it."""
    ini = configure(instance, 'clientstorage', servers[0], name, http)
    conf = instance / 'etc' / f'zope-{name}.conf'
    line = f'server 127.0.0.1:{servers[0]}\n'
    both = line + f'    server 127.0.0.1:{servers[1]}\n    prefer {prefer}\n'
    conf.write_text(conf.read_text().replace(line, both))
    process = processes.start(python.parent / 'runwsgi', ini)
    stack.callback(process.stop)
    browser = Browser(http)
    process.wait_until(browser.answers, 120)
    return browser
