"""Real Zope on a ZEO server: two processes on waitress, over HTTP, configured in three ways."""

from __future__ import annotations

import contextlib
import re
import time
from html import unescape

import pytest

from support.browser import Browser, comes, failures
from support.processes import free_ports
from support.sites import WAYS, configure, make_instance

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1200)]

ROUNDS = 20
# written by this check, by Python, and the process's own .pid and .lock files
NOT_DATA = ('.conf', '.ini', '.pyc', '.pid', '.lock')


class Site:
    """One server and two Zope processes, configured in one way."""

    def __init__(self, processes, sides, way, port):
        self.directory = processes.directory
        self.instance = self.directory / 'instance'
        self.way, self.port = way, port
        self.database = 'Control_Panel/Database/' + ('unnamed' if way == 'custom_zodb' else 'main')
        self._http = free_ports(2)
        self._processes = processes
        self._server_python = sides.python('zope', sides.server)
        self._zope_python = sides.python('zope', sides.client)
        self.serve()
        make_instance(self._zope_python, self.instance)

    def serve(self):
        self.server = self._processes.serve(self._server_python, self.port)

    def start_zope(self, name, number):
        """Start a process whose cache is called `name` (may be empty) and wait until it answers."""
        http = self._http[number]
        ini = configure(self.instance, self.way, self.port, name, http)
        environ = {'ZEO_CLIENT': name} if name and self.way == 'custom_zodb' else {}
        runwsgi = self._zope_python.parent / 'runwsgi'
        browser = Browser(http)
        process = self._processes.start(runwsgi, ini, **environ)
        process.wait_until(browser.answers, 60)
        return process, browser

    def files(self):
        """Return the size and the time of the instance's files and the caches; configuration and
        Python's files are left out.
        """
        found = {}
        for path in self.directory.rglob('*'):
            kept = self.instance in path.parents or path.suffix == '.zec'
            written = path.suffix not in NOT_DATA and path.name != 'custom_zodb.py'
            if kept and written and path.is_file():
                found[path] = path.stat().st_size, path.stat().st_mtime_ns
        return found


@pytest.fixture(params=WAYS)
def site(request, processes, sides, port):
    return Site(processes, sides, request.param, port)


def test_two_processes_share_a_site(site, sides):
    """What one writes the other reads, also after an undo, a pack and a restart of the server."""
    keeps_caches = sides.client == 'ours'
    with contextlib.ExitStack() as stack:
        browsers = []
        for number, name in enumerate(('8700', '8800')):
            process, browser = site.start_zope(name, number)
            stack.callback(process.stop)
            browsers.append(browser)
        if keeps_caches:
            files = sorted(path.name for path in site.directory.rglob('*.zec'))
            assert files == ['8700-1.zec', '8800-1.zec']
        _check_reads(*browsers, site.way == 'clientstorage')
        _check_history(*browsers)
        _check_undo(site.database, *browsers)
        _check_pack(site, *browsers)
        _check_restart(site, *browsers)
    if keeps_caches:
        _check_nothing_kept(site)


def _check_reads(first, second, synchronous):
    first.post('manage_addProduct/OFSP/addDTMLMethod', id='page', title='A page', file='round 0')
    comes(lambda: second.get('page'), 'round 0')
    for number in range(1, ROUNDS + 1):
        writer, reader = (first, second) if number % 2 else (second, first)
        writer.post('page/manage_edit', title='A page', data=f'round {number}.')
        stale = comes(lambda reader=reader: reader.get('page'), f'round {number}.')
        assert stale == 0 or not synchronous, 'server-sync shows each change at the first read'


def _check_history(first, second):
    listing = second.get('page/manage_change_history_page')
    found = re.findall(
        r'name="keys:list"[^>]*value="([\d.]+)"|value="([\d.]+)"[^>]*name="keys:list"', listing
    )
    keys = [a or b for a, b in found]
    assert len(keys) == 20
    old = second.get(f'page/HistoricalRevisions/{keys[3]}/manage_main')
    assert f'round {ROUNDS - 3}.' in old
    second.post('page', keys__list=keys[3], manage_historyCopy__method='Copy to present')
    comes(lambda: first.get('page'), f'round {ROUNDS - 3}.')


def _check_undo(database, first, second):
    first.post('page/manage_edit', title='A page', data='a mistake')
    comes(lambda: second.get('page'), 'a mistake')
    form = second.get(f'{database}/manage_UndoForm')
    found = re.findall(r'name="transaction_info:list" value="([^"]*)"', form)
    assert len(found) > 2
    second.post(f'{database}/manage_undo_transactions', transaction_info__list=unescape(found[0]))
    for browser in first, second:
        comes(lambda browser=browser: browser.get('page'), f'round {ROUNDS - 3}.')


def _check_pack(site, first, second):
    data = site.directory / 'Data.fs'
    before = data.stat().st_size
    # packing takes whole seconds off the clock in some storages: leave the last change behind
    time.sleep(1.1)
    answer = first.post(f'{site.database}/manage_pack', days__float='0')
    assert 'Database packed to' in answer
    assert data.stat().st_size < before
    for browser in first, second:
        assert browser.get('page/manage_change_history_page').count('keys:list') == 1
        assert f'round {ROUNDS - 3}.' in browser.get('page')


def _check_restart(site, first, second):
    assert site.server.stop() == 0
    site.serve()
    failures(lambda: first.post('page/manage_edit', title='A page', data='after the restart'))
    comes(lambda: second.get('page'), 'after the restart', 60)


def _check_nothing_kept(site):
    """A process without a name for its cache leaves nothing behind."""
    before = site.files()
    process, browser = site.start_zope('', 0)
    assert 'after the restart' in browser.get('page')
    process.stop()
    after = site.files()
    assert [str(name) for name in after if after[name] != before.get(name)] == []
