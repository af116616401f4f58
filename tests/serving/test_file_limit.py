"""A server's process opens as many files as it may, and says where these are too few for its
connections.
"""

import subprocess
import sys

import pytest

pytest.importorskip('resource')

PROGRAM = """
import resource
from ZEO.serving.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
print(raise_limit({connections}))
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def raised(connections):
    ran = subprocess.run(
        [sys.executable, '-c', PROGRAM.format(connections=connections)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.splitlines()


def test_the_limit_is_raised_to_what_is_allowed():
    assert raised(100) == ['None', '(256, 256)']


def test_a_limit_that_is_too_low_for_the_connections_is_told():
    said, limits = raised(10_000)
    assert limits == '(256, 256)'
    assert '256 files' in said and 'max-connections 10000' in said and 'about 224 clients' in said
