"""The log as JSON, one object on each line."""

import json
import logging
import os
import sys

import pytest
from ZODB.MappingStorage import MappingStorage

from support.processes import Process, free_port, wait_until
from support.scripted import RawClient
from support.sides import SOURCES
from ZEO.commands.json_lines import JsonLines


def line(message, *args, **options):
    record = logging.getLogger('ZEO.test').makeRecord(
        'ZEO.test', logging.WARNING, 'file', 1, message, args, None, **options
    )
    text = JsonLines().format(record)
    assert '\n' not in text
    return json.loads(text)


def test_an_event():
    said = line('%s is "quoted"\nand has two lines', 'this')
    assert said.pop('time').endswith('+00:00') and said.pop('process')
    assert said == {
        'level': 'WARNING',
        'logger': 'ZEO.test',
        'message': 'this is "quoted"\nand has two lines',
    }


def test_what_the_code_has_added():
    said = line('text', extra={'source': '10.0.0.1', 'strange': {1}})
    assert said['source'] == '10.0.0.1' and said['strange'] == '{1}'


def test_an_exception():
    try:
        raise ValueError('a fault')
    except ValueError:
        record = logging.makeLogRecord({'msg': 'failed', 'exc_info': sys.exc_info()})
    said = json.loads(JsonLines().format(record))
    assert said['message'] == 'failed' and said['exception'].endswith('ValueError: a fault')


@pytest.mark.parametrize('configured', ['an eventlog', 'nothing', 'switches'])
def test_a_servers_log(tmp_path, configured):
    eventlog = """<eventlog>\n level info\n <logfile>\n path log\n </logfile>\n</eventlog>\n"""
    (tmp_path / 'log').touch()
    conf = tmp_path / 'zeo.conf'
    conf.write_text(
        f'<zeo>\n address 127.0.0.1:{free_port()}\n log-format json\n</zeo>\n'
        '<mappingstorage>\n</mappingstorage>\n' + (eventlog if configured == 'an eventlog' else '')
    )
    command = ['-m', 'ZEO.runzeo', '-C', 'zeo.conf']
    if configured == 'switches':
        command = ['-m', 'ZEO.start', '-p', '0', '--log-format', 'json', '--log-level', 'info', 'd']
    environ = {**os.environ, 'PYTHONPATH': str(SOURCES)}
    with Process([sys.executable, *command], cwd=tmp_path, env=environ) as server:
        if configured == 'an eventlog':
            server.wait_until(lambda: 'serving storage' in (tmp_path / 'log').read_text())
        else:
            server.errors.wait_for('serving storage')
        assert server.stop() == 0
        text = (tmp_path / 'log').read_text() if configured == 'an eventlog' else server.errors.seen
    lines = [json.loads(one) for one in text.splitlines()]
    assert {one['process'] for one in lines} == {server.pid}
    assert lines[0]['message'].startswith('ZEO ') and lines[0]['logger'] == 'ZEO.runzeo'
    assert lines[-1]['message'].startswith('storage 1 is closed')


def test_a_line_about_a_client_has_its_source_and_kind(serving, caplog):
    caplog.set_level(logging.INFO)
    server = serving(MappingStorage())
    client = RawClient(server.addr)
    client.tell('no_such_method')
    client.ended()

    def records():
        return [one for one in caplog.records if 'unknown method' in one.getMessage()]

    wait_until(records)
    (record,) = records()
    said = json.loads(JsonLines().format(record))
    assert said['kind'] and said['source'] == 'a Unix socket'
