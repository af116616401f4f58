"""Real Plone on a ZEO server: server, control script, pack script and two instances as Plone's
buildout recipes make them.

Enters: the run.  Leaves: PASS and FAIL lines.  Fails: as the recipes and the processes do.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import Browser, until_done
from environments import run as run_command
from processes import Processes, free_ports, listens
from report import Report
from sites import PASSWORD, USER

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

    def __init__(
        self, processes: Processes, server_python: Path, client_python: Path, old_options: bool
    ) -> None:
        self._processes = processes
        self.server, self.clients = processes.directory / 'server', processes.directory / 'clients'
        self.port, monitor, *self.http = free_ports(4)
        conf = SERVER + (OLD_OPTIONS if old_options else '')
        _build(server_python, self.server, conf.format(port=self.port, monitor=monitor))
        blobs = self.server / 'var' / 'blobstorage'
        _build(
            client_python,
            self.clients,
            CLIENTS.format(
                user=USER, password=PASSWORD, port=self.port, http=self.http, blobs=blobs
            ),
        )

    def control(self, action: str) -> str:
        """Have the server's control script do something; return what it says."""
        return run_command([self.server / 'bin' / 'zeoserver', action], cwd=self.server).strip()

    def start(self, name: str, number: int) -> Browser:
        """Start an instance, and wait until it answers."""
        browser = Browser(self.http[number], USER, PASSWORD)
        self._processes.start(f'plone-{name}', [self.clients / 'bin' / name, 'console']).wait_until(
            browser.answers, 120
        )
        return browser

    def log(self) -> str:
        return (self.server / 'var' / 'log' / 'zeoserver.log').read_text()

    def data(self) -> int:
        """Return the size of the server's file."""
        return (self.server / 'var' / 'filestorage' / 'Data.fs').stat().st_size


def _build(python: Path, directory: Path, text: str) -> None:
    """Make a buildout of what is installed for `python` already."""
    directory.mkdir(parents=True)
    (directory / 'buildout.cfg').write_text(text)
    run_command([python.parent / 'buildout', '-o'], cwd=directory)


def check_plone(run: Any) -> None:
    """Run the check."""
    run.report.section(f'Plone, {run.sides}')
    with run.report.guard():
        server, client = run.python('plone', run.server), run.python('plone', run.client)
        directory = run.scratch / 'plone'
        directory.mkdir()
        with Processes(directory) as processes:
            place = Place(processes, server, client, run.server == 'ours')
            with _serving(run.report, place):
                _check_site(run.report, place, run.client == 'ours')
        if run.server == 'ours':
            log = place.log()
            run.report.check(
                "the server's log tells that old keys are ignored",
                'monitor-address is ignored' in log and 'authentication-database is ignored' in log,
                log[:1500],
            )
            run.report.check(
                "the server's log has no traceback and no error",
                'Traceback' not in log and 'ERROR' not in log,
                log,
            )


@contextmanager
def _serving(report: Report, place: Place) -> Iterator[None]:
    """Have the server run inside, under zdaemon."""
    place.control('start')
    try:
        up = until_done(lambda: place.control('status').index('running'), 30)
        report.check(
            'bin/zeoserver start, status: the server runs under zdaemon',
            up >= 0,
            place.control('status'),
        )
        yield
    finally:
        place.control('stop')
    report.check('bin/zeoserver stop: it is gone', not listens(('127.0.0.1', place.port)))


def _check_site(report: Report, place: Place, keeps_caches: bool) -> None:
    shared = place.start('shared', 0)
    # before the second one starts: an empty database is filled by one process
    shared.post('@@plone-addsite', **FORM)
    own = place.start('own', 1)
    report.say(
        "two instances answer; one shares the server's blobs, the other has a cache of its own"
    )
    report.check(
        'the second instance shows the site that the first one made',
        own.json('GET', 'Plone')['title'] == 'A site',
    )
    if keeps_caches:
        files = sorted(path.name for path in place.clients.rglob('*.zec'))
        report.check(
            'caches shared-1.zec and own-1.zec', files == ['own-1.zec', 'shared-1.zec'], files
        )
    _check_pages(report, shared, own)
    _check_blobs(report, shared, own)
    place.control('restart')
    errors = until_done(lambda: shared.json('PATCH', 'Plone/a-page', title='After the restart'))
    report.check(
        f'bin/zeoserver restart under them: a page is changed, with {errors} failed requests '
        'before that',
        errors >= 0,
    )
    report.check('… and the other instance shows it', _comes(own, 'After the restart'))
    before = place.data()
    run_command([place.server / 'bin' / 'zeopack'], cwd=place.server)
    report.check(
        f'bin/zeopack makes Data.fs smaller: {before} bytes, then {place.data()}',
        place.data() < before,
    )
    for name, browser in ('first', shared), ('second', own):
        report.check(
            f'after the pack the {name} instance shows the page',
            'After the restart' in browser.get('Plone/a-page'),
        )


def _check_pages(report: Report, shared: Browser, own: Browser) -> None:
    shared.json('POST', 'Plone', **{'@type': 'Document', 'id': 'a-page', 'title': 'round 0.'})
    report.check(
        'a page made in the first instance is there in the second', _comes(own, 'round 0.')
    )
    found = until_done(
        lambda: own.json('GET', 'Plone/@search?Title=round')['items'][0]['@id'].index('a-page'), 10
    )
    report.check("… and in its catalog's search", found >= 0)
    right = 0
    for number in range(1, ROUNDS + 1):
        writer, reader = (shared, own) if number % 2 else (own, shared)
        title = f'round {number}.'
        tries = until_done(
            lambda title=title, writer=writer: writer.json('PATCH', 'Plone/a-page', title=title), 10
        )
        right += tries >= 0 and _comes(reader, title)
    report.check(
        f'what one changes the other shows: {right} of {ROUNDS} changes, made by turns',
        right == ROUNDS,
    )


def _check_blobs(report: Report, shared: Browser, own: Browser) -> None:
    for name, writer, reader in (('a.bin', shared, own), ('b.bin', own, shared)):
        data = random.Random(name).randbytes(300_000)
        file = {
            'data': base64.b64encode(data).decode(),
            'encoding': 'base64',
            'filename': name,
            'content-type': 'application/octet-stream',
        }
        writer.json('POST', 'Plone', **{'@type': 'File', 'id': name, 'title': name, 'file': file})
        same = (
            until_done(
                lambda reader=reader, name=name, data=data: [data].index(
                    reader.download(f'Plone/{name}/@@download/file')
                ),
                10,
            )
            >= 0
        )
        report.check(
            f'a file of {len(data)} bytes uploaded to one instance is downloaded from the other, '
            'equal',
            same,
        )


def _comes(browser: Browser, title: str) -> bool:
    """Tell whether the page has a title, at once or in a moment: an invalidation may be on its
    way.
    """
    return (
        until_done(
            lambda: [title].index(browser.json('GET', 'Plone/a-page')['title']), 5, pause=0.05
        )
        >= 0
    )
