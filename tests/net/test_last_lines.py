"""The last lines of the log never disturb those who log."""

import logging

from ZEO.net.last_lines import LastLines


def test_who_logs_goes_on_where_a_line_cannot_be_kept(monkeypatch):
    def no_memory(self, record):
        raise MemoryError

    lines = LastLines()
    lines.open()
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    with monkeypatch.context() as patch:
        patch.setattr(LastLines, 'take', no_memory)
        logging.getLogger('ZEO.test').warning('lost')
    logging.getLogger('ZEO.test').warning('kept')
    assert [line.text for line in lines.last()] == ['kept']
    lines.close()
