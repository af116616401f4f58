"""Every failure on the page about reliability names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'operating' / 'reliability.rst'


def test_every_failure_names_tests_that_there_are():
    table = PAGE.read_text(encoding='utf-8').partition('.. failures')[2]
    rows = table.split('   * - ')[2:]
    assert len(rows) >= 20
    for row in rows:
        names = re.findall(r'``(tests/\S+)``', row)
        assert names, f'name a test for: {row.splitlines()[0]}'
        for name in names:
            assert (ROOT / name).is_file(), name
