"""Pyramid with pyramid_zodbconn and zodburi on a ZEO server: two processes, two databases in one
transaction.

Enters: the run.  Leaves: PASS and FAIL lines.  Fails: as its processes do.
"""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments import run as run_command
from processes import Processes, free_ports, listens

CONF = """\
<zeo>
  address 127.0.0.1:{port}
  address {directory}/zeo.sock
</zeo>
<filestorage 1>
  path {directory}/first.fs
</filestorage>
<filestorage second>
  path {directory}/second.fs
</filestorage>
"""
# ZEO 6 knows one address only
PEER_CONF = CONF.replace('  address {directory}/zeo.sock\n', '')
REQUESTS = 25  # of each of the threads that count at the same time


def check_pyramid(run: Any) -> None:
    """Run the application, and zodburi's own tests."""
    run.report.section(f'Pyramid, {run.sides}')
    with run.report.guard():
        server, client = run.python('pyramid', run.server), run.python('pyramid', run.client)
        directory = run.scratch / 'pyramid'
        directory.mkdir()
        with Processes(directory) as processes:
            _check_application(run.report, processes, server, client, run.server == 'peer')
    if run.client == 'ours':
        run.report.section("zodburi's own tests")
        with run.report.guard():
            source = run.environments.source('zodburi')
            pytest = [run.python('pyramid', 'ours'), '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
            said = run_command([*pytest, 'zodburi'], cwd=source)
            last = said.strip().splitlines()[-1]
            run.report.check(
                f'{source.name}: {last}', 'passed' in last and 'failed' not in last, said[-1500:]
            )


def _check_application(
    report: Any, processes: Processes, server: Path, client: Path, peer_server: bool
) -> None:
    port, *http = free_ports(3)
    conf = (PEER_CONF if peer_server else CONF).format(port=port, directory=processes.directory)
    zeo = processes.serve(server, conf, ('127.0.0.1', port))
    first = f'zeo://127.0.0.1:{port}?wait_timeout=30'
    second = (
        first + '&storage=second'
        if peer_server
        else f'zeo://{processes.directory}/zeo.sock?storage=second&wait_timeout=30'
    )
    report.say(f'zodbconn.uri = {first}\nzodbconn.uri.second = {second}')
    app = Path(__file__).with_name('pyramid_app.py')
    started = []
    for number in http:
        process = processes.start(f'pyramid-{number}', [client, app, number, first, second])
        process.wait_until(lambda number=number: listens(('127.0.0.1', number)))
        started.append(process)
    _check_values(report, http)
    if not _check_counts(report, http):
        for process in started:
            report.say(f'{process.name} said:\n{process.tail()}')
    report.check('SIGTERM ends the server with exit code 0', zeo.stop() == 0)
    processes.serve(server, conf, ('127.0.0.1', port))
    # Until they have found the server again, processes answer from their caches.
    report.check(
        'a process stores when the server was restarted',
        _in_time('stored', lambda: _get(http[0], 'put', key='b', value='again')),
    )
    report.check(
        '… and the other reads it', _in_time('again again', lambda: _get(http[1], 'get', key='b'))
    )


def _in_time(wanted: str, ask: Callable[[], str], seconds: float = 10.0) -> bool:
    """Ask until the answer is the one wanted, at most so long; tell whether it was."""
    end = time.monotonic() + seconds
    while ask() != wanted:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _check_values(report: Any, http: list[int]) -> None:
    report.check(
        'one process stores in both databases',
        _get(http[0], 'put', key='a', value='new') == 'stored',
    )
    report.check('the other process reads both', _get(http[1], 'get', key='a') == 'new new')
    report.check(
        'a view that fails behind its stores: the error',
        _get(http[0], 'fail', key='a', value='lost') == 'ValueError',
    )
    for number in http:
        seen = _get(number, 'get', key='a')
        report.check('… and neither database has what it stored', seen == 'new new', seen)


def _check_counts(report: Any, http: list[int]) -> bool:
    """Count from several threads at once; return whether each request was answered."""
    counted: list[str] = []

    def count(port: int) -> None:
        for _ in range(REQUESTS):
            counted.append(_get(port, 'count'))

    threads = [threading.Thread(target=count, args=(port,)) for port in http for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    good = counted.count('counted')
    report.check(
        f'{len(threads) * REQUESTS} requests at the same time to both processes, conflicts '
        f'retried: {good} answered',
        good == len(threads) * REQUESTS,
        set(counted),
    )
    _get(http[0], 'put', key='settled', value='yes')
    for number in http:
        for _ in range(20):  # an invalidation may still be on its way
            seen = _get(number, 'get', key='count')
            if seen == f'{good} {good}':
                break
        report.check(f'both databases counted just these: {seen}', seen == f'{good} {good}')
    return good == len(threads) * REQUESTS


def _get(port: int, path: str, **fields: str) -> str:
    try:
        with urllib.request.urlopen(
            f'http://127.0.0.1:{port}/{path}?{urllib.parse.urlencode(fields)}', timeout=60
        ) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()[-2000:]
