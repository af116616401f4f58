"""The script that attacks a server: some of its attacks, each on a server process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / 'scripts' / 'attack.py'


@pytest.mark.parametrize(
    'names', ['code-in-record,code-in-extension-demo', 'one-message-*', 'hash-set,future-tid']
)
def test_a_server_stands_attacks(names):
    found = subprocess.run(
        [sys.executable, SCRIPT, '--only', names], capture_output=True, text=True, timeout=55
    )
    assert 'DIED' not in found.stdout and 'CODE RAN' not in found.stdout
    assert found.stderr == ''


def test_a_server_of_other_sources_is_attacked_as_well(tmp_path):
    package = tmp_path / 'ZEO'
    package.symlink_to(SCRIPT.parent.parent / 'src' / 'ZEO')
    found = subprocess.run(
        [sys.executable, SCRIPT, '--only', 'one-message-nested', '--against', tmp_path],
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert found.stdout.count('one-message-nested') == 2 and str(tmp_path) in found.stdout
