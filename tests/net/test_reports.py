"""Lines that others can cause at will: the first few are written, the rest is counted; none of them
is more than one line.
"""

import logging

import pytest

from ZEO.net import reports as module
from ZEO.net.reports import FROM_ALL, FROM_ONE, MOST_SOURCES, MOST_SUMS, WINDOW, Reports


@pytest.fixture
def reports():
    timers = []
    found = Reports(lambda seconds, function: timers.append((seconds, function)))
    found.timers = timers
    return found


@pytest.fixture(autouse=True)
def all_levels(caplog):
    caplog.set_level(logging.DEBUG, 'ZEO.StorageServer')


def test_the_first_lines_are_written_and_the_rest_is_summed_up(reports, caplog):
    for number in range(FROM_ONE + 300):
        reports.write(
            logging.WARNING, 'closed connections', '10.0.0.1', 'client %d was closed', number
        )
    assert caplog.messages == [f'client {number} was closed' for number in range(FROM_ONE)]
    ((seconds, end),) = reports.timers
    assert seconds == WINDOW
    caplog.clear()
    end()
    assert caplog.messages == [
        '10.0.0.1: 300 more lines in the last 10 s about: closed connections'
    ]
    assert caplog.records[0].levelno == logging.WARNING
    reports.write(logging.WARNING, 'closed connections', '10.0.0.1', 'again')
    assert caplog.messages[-1] == 'again'


def test_lines_of_one_source_and_kind_do_not_hide_those_of_others(reports, caplog):
    for _ in range(1000):
        reports.write(logging.WARNING, 'closed connections', '10.0.0.1', 'closed')
    reports.write(logging.WARNING, 'closed connections', '10.0.0.2', 'other source')
    reports.write(logging.WARNING, 'failed calls', '10.0.0.1', 'other kind')
    assert caplog.messages[-2:] == ['other source', 'other kind']


def test_many_sources_write_and_cost_no_more_than_a_few(reports, caplog):
    for number in range(5 * MOST_SOURCES):
        reports.write(logging.WARNING, 'closed connections', str(number), 'closed')
    assert len(caplog.messages) == FROM_ALL
    assert len(reports._from_one) <= MOST_SOURCES + 1
    caplog.clear()
    reports.timers[0][1]()
    assert len(caplog.messages) == MOST_SUMS + 1
    told = [int(message.split(': ')[1].split()[0]) for message in caplog.messages]
    assert sum(told) == 5 * MOST_SOURCES - FROM_ALL


def test_no_part_of_a_line_makes_a_second_one(reports, caplog):
    reports.write(
        logging.WARNING, 'kind', 'a\nb', '%s', 'x\n2026-01-01 INFO stopped\r\x1b[2J' + 'y' * 10_000
    )
    reports.failed('a task failed', 'server', ValueError('x\n2026-01-01 INFO stopped'))
    for _ in range(FROM_ONE):
        reports.write(logging.WARNING, 'kind', 'a\nb', 'text')
    reports.sum_up()
    for record in caplog.records:
        assert not any(line.startswith('2026') for line in record.getMessage().splitlines())
        assert len(record.getMessage()) < 2000
        assert '\x1b' not in record.getMessage() and '\r' not in record.getMessage()


def test_a_failure_is_told_with_where_it_came_from(reports, caplog):
    try:
        raise ValueError('bad')
    except ValueError as error:
        reports.failed('a task failed', 'server', error)
    assert (
        'server: a task failed: ValueError: bad' in caplog.text and 'test_reports.py' in caplog.text
    )


def test_a_line_that_can_not_be_written_hurts_no_one(reports, monkeypatch):
    def full(*args):
        raise OSError('disk full')

    monkeypatch.setattr(module.log, 'log', full)
    monkeypatch.setattr(module.log, 'error', full)
    reports.write(logging.WARNING, 'kind', 'source', 'text')
    reports.write(logging.WARNING, 'kind', 'source', 'bad format %d', 'x')
    reports.failed('kind', 'source', ValueError())


def test_what_is_not_logged_is_not_counted(reports, caplog):
    caplog.set_level(logging.WARNING, 'ZEO.StorageServer')
    for _ in range(100):
        reports.write(logging.DEBUG, 'kind', 'source', 'text')
    assert not reports.timers
