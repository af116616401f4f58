"""Real Plone on a ZEO server: server, control script, pack script and two instances as Plone's
buildout recipes make them.
"""

from __future__ import annotations

import base64
import contextlib
import random

import pytest

from support.browser import PASSWORD, USER, Browser, comes, failures
from support.environments import run
from support.processes import free_ports, listens

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1800)]

SERVER = """\
[buildout]
parts = zeoserver
[zeoserver]
recipe = plone.recipe.zeoserver
zeo-address = 127.0.0.1:{port}
pack-days = 0
"""
# What recipes of old deployments still write; ZEO 6 does not start with it.
OLD_OPTIONS = """\
monitor-address = 127.0.0.1:{monitor}
authentication-database = ${{buildout:directory}}/passwords
"""
CLIENTS = """\
[buildout]
parts = shared own
[shared]
recipe = plone.recipe.zope2instance
eggs = Products.CMFPlone
user = {user}:{password}
http-address = 127.0.0.1:{http[0]}
zeo-client = on
zeo-address = 127.0.0.1:{port}
zeo-var = ${{buildout:directory}}/var
zeo-client-client = shared
blob-storage = {blobs}
shared-blob = on
[own]
<= shared
http-address = 127.0.0.1:{http[1]}
zeo-client-client = own
blob-storage = ${{buildout:directory}}/var/own-blobs
shared-blob = off
"""
FORM = {
    'site_id': 'Plone',
    'title': 'A site',
    'default_language': 'en',
    'portal_timezone': 'UTC',
    'form.submitted__boolean': '1',
}
ROUNDS = 20


class Place:
    """The two buildouts of a check: the server's, and that of the instances."""

    def __init__(self, processes, sides, port):
        self._processes = processes
        self.port = port
        self.server, self.clients = processes.directory / 'server', processes.directory / 'clients'
        monitor, *self.http = free_ports(3)
        conf = SERVER + (OLD_OPTIONS if sides.server == 'ours' else '')
        python = sides.python('plone', sides.server)
        _build(python, self.server, conf.format(port=port, monitor=monitor))
        blobs = self.server / 'var' / 'blobstorage'
        conf = CLIENTS.format(user=USER, password=PASSWORD, port=port, http=self.http, blobs=blobs)
        _build(sides.python('plone', sides.client), self.clients, conf)

    def control(self, action):
        """Have the server's control script do something; return what it says."""
        return run([self.server / 'bin' / 'zeoserver', action], cwd=self.server).strip()

    def start(self, name, number):
        """Start an instance, and wait until it answers."""
        browser = Browser(self.http[number])
        process = self._processes.start(self.clients / 'bin' / name, 'console')
        process.wait_until(browser.answers, 120)
        return browser

    def log(self):
        return (self.server / 'var' / 'log' / 'zeoserver.log').read_text()

    def data(self):
        """Return the size of the server's file."""
        return (self.server / 'var' / 'filestorage' / 'Data.fs').stat().st_size

    @contextlib.contextmanager
    def serving(self):
        """Have the server run inside, under zdaemon."""
        self.control('start')
        try:
            comes(lambda: self.control('status'), 'running', 30)
            yield
        finally:
            self.control('stop')
        assert not listens(('127.0.0.1', self.port))


def _build(python, directory, text):
    """Make a buildout of what is installed for `python` already."""
    directory.mkdir()
    (directory / 'buildout.cfg').write_text(text)
    run([python.parent / 'buildout', '-o'], cwd=directory)


def test_two_instances_share_a_site(processes, sides, port):
    """One shares the server's blobs, the other has a cache of its own."""
    place = Place(processes, sides, port)
    with place.serving():
        shared = place.start('shared', 0)
        # before the second one starts: an empty database is filled by one process
        shared.post('@@plone-addsite', **FORM)
        own = place.start('own', 1)
        assert own.json('GET', 'Plone')['title'] == 'A site'
        if sides.client == 'ours':
            files = sorted(path.name for path in place.clients.rglob('*.zec'))
            assert files == ['own-1.zec', 'shared-1.zec']
        _check_pages(shared, own)
        _check_blobs(shared, own)
        place.control('restart')
        failures(lambda: shared.json('PATCH', 'Plone/a-page', title='After the restart'))
        comes(lambda: _title(own), 'After the restart', 60)
        before = place.data()
        run([place.server / 'bin' / 'zeopack'], cwd=place.server)
        assert place.data() < before
        for browser in shared, own:
            assert 'After the restart' in browser.get('Plone/a-page')
    if sides.server == 'ours':
        log = place.log()
        assert 'figures over HTTP' in log
        assert 'authentication-database is ignored' in log
        assert 'Traceback' not in log and 'ERROR' not in log


def _title(browser):
    return browser.json('GET', 'Plone/a-page')['title']


def _check_pages(shared, own):
    shared.json('POST', 'Plone', **{'@type': 'Document', 'id': 'a-page', 'title': 'round 0.'})
    comes(lambda: _title(own), 'round 0.')
    search = 'Plone/@search?Title=round'
    comes(lambda: str(own.json('GET', search)['items']), 'a-page', 10)
    for number in range(1, ROUNDS + 1):
        writer, reader = (shared, own) if number % 2 else (own, shared)
        title = f'round {number}.'
        failures(
            lambda title=title, writer=writer: writer.json('PATCH', 'Plone/a-page', title=title), 10
        )
        comes(lambda reader=reader: _title(reader), title)


def _check_blobs(shared, own):
    for name, writer, reader in (('a.bin', shared, own), ('b.bin', own, shared)):
        data = random.Random(name).randbytes(300_000)
        file = {
            'data': base64.b64encode(data).decode(),
            'encoding': 'base64',
            'filename': name,
            'content-type': 'application/octet-stream',
        }
        writer.json('POST', 'Plone', **{'@type': 'File', 'id': name, 'title': name, 'file': file})
        path = f'Plone/{name}/@@download/file'
        comes(lambda reader=reader, path=path: reader.download(path), data, 10)
