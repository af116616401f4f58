"""Patterns that are compiled when they are first used."""

import subprocess
import sys

import pytest

from ZEO.wire.late_pattern import LatePattern

SCRIPT = """
import re
compiled = []
re_compile = re.compile
re.compile = lambda text, *flags: compiled.append(text) or re_compile(text, *flags)
import ZEO.runzeo
print(sum(len(text) > 2000 for text in compiled if isinstance(text, bytes)))
"""


def test_it_matches_as_a_compiled_one():
    pattern = LatePattern(b'(?:ab|\n.){1,500}')
    for _ in range(2):
        assert pattern.match(b'xab\n\nab', 1).group() == b'ab\n\nab'
        assert pattern.match(b'x') is None
    with pytest.raises(AttributeError):
        pattern.search(b'x')


def test_none_is_compiled_when_a_server_starts():
    found = subprocess.run(
        [sys.executable, '-c', SCRIPT], capture_output=True, check=True, timeout=60
    )
    assert found.stdout.split() == [b'0']
