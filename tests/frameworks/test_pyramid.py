"""Pyramid with pyramid_zodbconn and zodburi on a ZEO server: two processes, two databases in one
transaction.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import requests

from support.browser import comes
from support.environments import CannotInstall, run
from support.processes import free_ports, listens

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1200)]

APPLICATION = Path(__file__).with_name('pyramid_app.py')
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


def get(port, path, **fields):
    """Return what a process answers, be it an error."""
    return requests.get(f'http://127.0.0.1:{port}/{path}', params=fields, timeout=60).text


def test_two_processes_store_in_two_databases(processes, sides, port):
    server, client = sides.python('pyramid', sides.server), sides.python('pyramid', sides.client)
    conf = PEER_CONF if sides.server == 'peer' else CONF
    zeo = processes.serve(server, port, conf)
    first = f'zeo://127.0.0.1:{port}?wait_timeout=30'
    second = f'zeo://{processes.directory}/zeo.sock?storage=second&wait_timeout=30'
    if sides.server == 'peer':
        second = first + '&storage=second'
    http = free_ports(2)
    for number in http:
        process = processes.start(client, APPLICATION, number, first, second)
        process.wait_until(lambda number=number: listens(('127.0.0.1', number)))
    _check_values(*http)
    _check_counts(http)
    assert zeo.stop() == 0
    processes.serve(server, port, conf)
    # Until they have found the server again, processes answer from their caches.
    comes(lambda: get(http[0], 'put', key='b', value='again'), 'stored', 10)
    comes(lambda: get(http[1], 'get', key='b'), 'again again', 10)


def _check_values(one, other):
    assert get(one, 'put', key='a', value='new') == 'stored'
    assert get(other, 'get', key='a') == 'new new'
    assert get(one, 'fail', key='a', value='lost') == 'ValueError'
    for number in one, other:
        assert get(number, 'get', key='a') == 'new new'


def _check_counts(http):
    """Count from several threads at once; conflicts are tried again."""
    answers = []

    def count(port):
        for _ in range(REQUESTS):
            answers.append(get(port, 'count'))

    threads = [threading.Thread(target=count, args=(port,)) for port in http for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    total = len(threads) * REQUESTS
    assert answers == ['counted'] * total
    get(http[0], 'put', key='settled', value='yes')
    for number in http:
        comes(lambda number=number: get(number, 'get', key='count'), f'{total} {total}')


def test_zodburis_own_tests_pass(environments):
    try:
        python = environments.python('pyramid', 'ours')
        source = environments.source('zodburi', python)
    except CannotInstall as error:
        pytest.skip(str(error))
    said = run([python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'zodburi'], cwd=source)
    last = said.strip().splitlines()[-1]
    assert 'passed' in last and 'failed' not in last, said[-1500:]
