"""What several tests of the server's parts need."""

import tempfile

import pytest


@pytest.fixture
def socket_path():
    """A path for a Unix socket, which must be short."""
    with tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp') as folder:
        yield f'{folder}/s'
