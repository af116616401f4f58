"""What a client's log says about its connection: which storage, that it is lost, and that the loss
is over.
"""

import logging
import re
import socket
import time

import ZEO
from support.inside import link_of
from ZEO.ClientStorage import ClientStorage

PATIENCE = 15


def lines(caplog):
    return [
        (record.levelname, record.getMessage())
        for record in list(caplog.records)
        if record.name == 'ZEO.ClientStorage'
    ]


def wait_for(caplog, pattern):
    deadline = time.monotonic() + PATIENCE
    while not (found := [line for line in lines(caplog) if re.search(pattern, line[1])]):
        assert time.monotonic() < deadline, lines(caplog)
        time.sleep(0.01)
    return found[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_a_loss_and_its_end_are_warnings_that_name_the_storage(caplog):
    caplog.set_level(logging.INFO)
    port = free_port()
    address, stop = ZEO.server(port=port)
    client = ClientStorage(address, name='main', wait_timeout=PATIENCE)
    try:
        where = f'127.0.0.1:{port}'
        assert wait_for(caplog, ': connected to') == (
            'INFO',
            f'main (storage 1): connected to {where}',
        )
        stop()
        level, line = wait_for(caplog, 'disconnected')
        assert level == 'WARNING' and line.startswith(f'main (storage 1): disconnected: {where}: ')
        assert wait_for(caplog, 'not connected') == (
            'WARNING',
            f'main (storage 1): not connected: {where}: Connection refused',
        )
        _, stop = ZEO.server(port=port)
        level, line = wait_for(caplog, 'again')
        assert level == 'WARNING'
        assert re.fullmatch(
            rf'main \(storage 1\): connected again to {where} after \d+\.\d s', line
        )
    finally:
        client.close()
        stop()


def test_a_thread_of_the_application_does_not_log_a_loss_itself(caplog):
    """Struck in the middle of that, it would keep the handler's lock, and all threads that log
    would hang.
    """
    caplog.set_level(logging.INFO)
    address, stop = ZEO.server(port=free_port())
    client = ClientStorage(address, wait_timeout=PATIENCE)
    try:
        link_of(client).wait().lose('a test')
        client.ping()
        wait_for(caplog, 'connected again')
        said = [
            record
            for record in caplog.records
            if 'connected' in record.getMessage() and record.name == 'ZEO.ClientStorage'
        ]
        assert [record.getMessage().split(': ')[1] for record in said][1] == 'disconnected'
        assert {record.threadName for record in said} == {'ZEO connector'}
    finally:
        client.close()
        stop()


def test_a_server_that_comes_late_is_told_as_loudly_as_its_absence(caplog):
    caplog.set_level(logging.INFO)
    port = free_port()
    client = ClientStorage(('127.0.0.1', port), wait=False)
    try:
        assert wait_for(caplog, 'not connected')[1].startswith('storage 1: not connected: ')
        _, stop = ZEO.server(port=port)
        level, line = wait_for(caplog, 'connected to')
        assert level == 'WARNING' and re.fullmatch(
            rf'storage 1: connected to 127.0.0.1:{port} after \d+\.\d s', line
        )
        stop()
    finally:
        client.close()


def test_a_realm_is_spoken_of_only_with_a_user(caplog, tmp_path):
    """The pack script of Plone's recipe gives one each time."""
    ClientStorage(str(tmp_path / 's'), wait=False, realm='ZEO').close()
    assert lines(caplog) == []
    ClientStorage(str(tmp_path / 's'), wait=False, realm='ZEO', username='u', password='p').close()
    assert 'realm and credentials are ignored' in lines(caplog)[0][1]
