"""An operator moves the server of a Zope site: served, backed up, stopped, restored and verified
elsewhere, and served there, while two Zope processes that know both addresses go on.
"""

from __future__ import annotations

import contextlib

import pytest

from support.browser import Browser, comes, failures
from support.environments import CannotInstall
from support.operators import Operator
from support.processes import free_ports
from support.sites import configure, make_instance

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1200)]


@pytest.fixture
def operator(environments, tmp_path):
    try:
        python = environments.python('zope', 'ours')
    except CannotInstall as error:
        pytest.skip(str(error))
    with Operator(python.parent, tmp_path) as operator:
        yield operator


def zope(operator, instance, servers, name, http):
    """Start a process of Zope that knows both servers; return a browser of it."""
    ini = configure(instance, 'clientstorage', servers[0], name, http)
    conf = instance / 'etc' / f'zope-{name}.conf'
    line = f'server 127.0.0.1:{servers[0]}\n'
    conf.write_text(conf.read_text().replace(line, f'{line}    server 127.0.0.1:{servers[1]}\n'))
    browser = Browser(http)
    operator.start('runwsgi', ini).wait_until(browser.answers, 120)
    return browser


def test_zope_goes_on_at_a_server_that_was_restored_elsewhere(operator, tmp_path):
    old, new, *http = free_ports(4)
    server = operator.serve('here', old)
    instance = tmp_path / 'instance'
    make_instance(operator.programs / 'python', instance)
    first, second = (
        zope(operator, instance, (old, new), *one) for one in zip(('one', 'two'), http, strict=True)
    )
    first.post('manage_addProduct/OFSP/addDTMLMethod', id='page', title='A page', file='before')
    comes(lambda: second.get('page'), 'before')
    assert 'storage 1: 2 clients' in operator.zeo('top', old, '-n1')
    operator.back_up_and_stop(server, 'here', old)
    with contextlib.suppress(OSError):  # what is cached may still be read
        assert 'before' in second.get('page')
    operator.restore('elsewhere')
    operator.serve('elsewhere', new)
    for number, (writer, reader) in enumerate([(first, second), (second, first)]):
        text = f'after {number}'
        failures(lambda w=writer, t=text: w.post('page/manage_edit', title='A page', data=t))
        comes(lambda r=reader, t=text: r.get('page'), text)
