"""Real Zope on a ZEO server: two processes on waitress, over HTTP, configured in three ways.

Enters: the Pythons for the server and for Zope. Leaves: PASS and FAIL lines. Fails: as its
processes do.
"""

from __future__ import annotations

import re
import time
from html import unescape
from pathlib import Path

from browser import Browser, until_done
from processes import Process, Processes, configuration, free_ports, listens
from report import Report
from sites import PASSWORD, USER, WAYS, configure, make_instance

ROUNDS = 20
# written by this check, by Python, and the process's own .pid and .lock files
NOT_DATA = ('.conf', '.ini', '.out', '.pyc', '.pid', '.lock')


class Site:
    """One server and two Zope processes in a directory, configured in one way."""

    def __init__(
        self, processes: Processes, server_python: Path, zope_python: Path, way: str
    ) -> None:
        self.directory = processes.directory
        self.instance = self.directory / 'instance'
        self.way = way
        self.database = 'Control_Panel/Database/' + ('unnamed' if way == 'custom_zodb' else 'main')
        self.port, *self._http = free_ports(3)
        self._processes = processes
        self._server_python, self._zope_python = server_python, zope_python
        self.server = self._serve()
        make_instance(zope_python, self.instance)

    def _serve(self) -> Process:
        conf = configuration(self.port, self.directory)
        return self._processes.serve(self._server_python, conf, ('127.0.0.1', self.port))

    def start_zope(self, name: str, number: int) -> tuple[Process, Browser]:
        """Start a process whose cache is called `name` (may be empty) and wait until it answers."""
        http = self._http[number]
        ini = configure(self.instance, self.way, self.port, name, http)
        environment = {'ZEO_CLIENT': name} if name and self.way == 'custom_zodb' else {}
        process = self._processes.start(
            f'zope-{name or "nameless"}', [self._zope_python.parent / 'runwsgi', ini], **environment
        )
        browser = Browser(http, USER, PASSWORD)
        process.wait_until(browser.answers, 60)
        return process, browser

    def stop_server(self) -> int:
        return self.server.stop()

    def restart_server(self) -> None:
        self.server = self._serve()

    def cache_files(self) -> list[str]:
        return sorted(path.name for path in self.directory.rglob('*.zec'))


def check_zope(
    report: Report,
    directory: Path,
    server_python: Path,
    zope_python: Path,
    sides: str,
    keeps_caches: bool,
) -> None:
    """Run the check in all three ways.

    :param sides: which ZEO is on which end, for the titles.
    :param keeps_caches: whether the client is ours, whose ZEO_CLIENT gives persistent caches.
    """
    for way in WAYS:
        report.section(f'Zope by {way}, {sides}')
        with report.guard():
            place = directory / way
            place.mkdir(parents=True)
            with Processes(place) as processes:
                _check_way(report, Site(processes, server_python, zope_python, way), keeps_caches)


def _check_way(report: Report, site: Site, keeps_caches: bool) -> None:
    _, first = site.start_zope('8700', 0)
    _, second = site.start_zope('8800', 1)
    report.say('two Zope processes answer; their caches are called 8700 and 8800')
    if keeps_caches:
        files = site.cache_files()
        report.check(
            'unique caches 8700-1.zec and 8800-1.zec', files == ['8700-1.zec', '8800-1.zec'], files
        )
    _check_reads(report, first, second, site.way == 'clientstorage')
    _check_history(report, first, second)
    _check_undo(report, site.database, first, second)
    _check_pack(report, site, first, second)
    _check_restart(report, site, first, second)
    if keeps_caches:
        _check_nothing_kept(report, site)


def _check_reads(report: Report, first: Browser, second: Browser, synchronous: bool) -> None:
    first.post('manage_addProduct/OFSP/addDTMLMethod', id='page', title='A page', file='round 0')
    report.check(
        'the second process shows the page that the first one made',
        _comes(second, 'page', 'round 0'),
    )
    at_first = at_all = 0
    for number in range(1, ROUNDS + 1):
        writer, reader = (first, second) if number % 2 else (second, first)
        writer.post('page/manage_edit', title='A page', data=f'round {number}.')
        tries = until_done(
            lambda number=number, reader=reader: reader.get('page').index(f'round {number}.'),
            2,
            pause=0,
        )
        at_first += tries == 0
        at_all += tries >= 0
    needed = ROUNDS if synchronous else 0
    report.check(
        f'what one writes the other reads: {at_first} of {ROUNDS} changes, made by turns, at the '
        'first read' + (' (server-sync)' if synchronous else f', {at_all} of {ROUNDS} in the end'),
        at_all == ROUNDS and at_first >= needed,
    )


def _check_history(report: Report, first: Browser, second: Browser) -> None:
    listing = second.get('page/manage_change_history_page')
    keys = re.findall(
        r'name="keys:list"[^>]*value="([\d.]+)"|value="([\d.]+)"[^>]*name="keys:list"', listing
    )
    keys = [a or b for a, b in keys]
    report.check('the History page lists 20 revisions', len(keys) == 20, len(keys))
    old = second.get(f'page/HistoricalRevisions/{keys[3]}/manage_main')
    report.check('an old revision shows its text', f'round {ROUNDS - 3}.' in old, old[:200])
    second.post('page', keys__list=keys[3], manage_historyCopy__method='Copy to present')
    report.check(
        '"Copy to present" in one process is there in the other',
        _comes(first, 'page', f'round {ROUNDS - 3}.'),
    )


def _check_undo(report: Report, database: str, first: Browser, second: Browser) -> None:
    first.post('page/manage_edit', title='A page', data='a mistake')
    _comes(second, 'page', 'a mistake')
    form = second.get(f'{database}/manage_UndoForm')
    found = re.findall(r'name="transaction_info:list" value="([^"]*)"', form)
    report.check('the Undo page lists transactions', len(found) > 2, len(found))
    second.post(f'{database}/manage_undo_transactions', transaction_info__list=unescape(found[0]))
    for name, browser in (('first', first), ('second', second)):
        report.check(
            f'undone through the Undo page: the {name} process shows the page as before',
            _comes(browser, 'page', f'round {ROUNDS - 3}.'),
        )


def _check_pack(report: Report, site: Site, first: Browser, second: Browser) -> None:
    data = site.directory / 'Data.fs'
    before = data.stat().st_size
    # packing takes whole seconds off the clock in some storages: leave the last change behind
    time.sleep(1.1)
    answer = first.post(f'{site.database}/manage_pack', days__float='0')
    report.check(
        'the Database page says that it packed', 'Database packed to' in answer, answer[-300:]
    )
    after = data.stat().st_size
    report.check(f'the pack made Data.fs smaller: {before} bytes, then {after}', after < before)
    for name, browser in (('first', first), ('second', second)):
        listing = browser.get('page/manage_change_history_page')
        report.check(
            f'after the pack the {name} process shows one revision',
            listing.count('keys:list') == 1,
            listing.count('keys:list'),
        )
        report.check(
            f'after the pack the {name} process shows the page',
            f'round {ROUNDS - 3}.' in browser.get('page'),
        )


def _check_restart(report: Report, site: Site, first: Browser, second: Browser) -> None:
    report.check('SIGTERM ends the server with exit code 0', site.stop_server() == 0)
    site.restart_server()
    report.check('the server listens again', listens(('127.0.0.1', site.port)))
    began = time.monotonic()
    errors = until_done(
        lambda: first.post('page/manage_edit', title='A page', data='after the restart')
    )
    seconds = time.monotonic() - began
    report.check(
        f'a write after the restart, {seconds:.1f} seconds later, with {errors} failed requests '
        'before it',
        errors >= 0,
    )
    errors = until_done(lambda: second.get('page').index('after the restart'))
    report.check(
        f'the other process reads it, with {errors} stale or failed reads before that', errors >= 0
    )


def _comes(browser: Browser, path: str, text: str) -> bool:
    """Tell whether a page shows a text, at once or in a moment: without server-sync an invalidation
    may be on its way.
    """
    return until_done(lambda: browser.get(path).index(text), 2, pause=0) >= 0


def _check_nothing_kept(report: Report, site: Site) -> None:
    """Start a third process without a name for its cache, while nothing else runs, and look for
    what it leaves.
    """
    with Processes(site.directory) as processes:
        site._processes.__exit__()
        site._processes = processes
        site.restart_server()
        before = _files(site)
        process, browser = site.start_zope('', 0)
        text = browser.get('page')
        process.stop()
        report.check(
            'without ZEO_CLIENT, Zope starts and shows the page',
            'after the restart' in text,
            text[:200],
        )
        after = _files(site)
        changed = {str(name) for name in after if after[name] != before.get(name)}
        report.check(
            'without ZEO_CLIENT, nothing persistent is written: no cache file, nothing in the '
            'instance',
            not changed,
            sorted(changed),
        )


def _files(site: Site) -> dict[Path, tuple[int, int]]:
    """Return the size and the time of the instance's files and the caches; configuration and
    Python's files are left out.
    """
    found = {}
    for path in site.directory.rglob('*'):
        kept = site.instance in path.parents or path.suffix == '.zec'
        if (
            kept
            and path.is_file()
            and path.suffix not in NOT_DATA
            and path.name != 'custom_zodb.py'
        ):
            found[path] = path.stat().st_size, path.stat().st_mtime_ns
    return found
