"""Servers whose bounds are reached from outside."""

import resource

import pytest

from support.bounded import BoundedServer


@pytest.fixture
def server():
    """A server process whose limits the test may change."""
    if not hasattr(resource, 'prlimit'):
        pytest.skip('only Linux changes the limits of another process')
    server = BoundedServer()
    yield server
    server.close()
