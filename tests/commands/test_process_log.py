"""The form of log lines."""

import logging
import sys

from ZEO.commands.process_log import OneLine


def test_an_event_is_one_line_whatever_it_says():
    try:
        raise ValueError('a\nb')
    except ValueError:
        record = logging.makeLogRecord(
            {'msg': 'x\ny', 'levelname': 'ERROR', 'exc_info': sys.exc_info()}
        )
    line = OneLine('%(levelname)s %(message)s').format(record)
    assert line.startswith('ERROR x | y | Traceback')
    assert line.endswith('ValueError: a | b')
