"""Fixtures of the tests of replicas."""

import pytest

from support.replicas import Site


@pytest.fixture
def site(tmp_path):
    """Where primaries and followers are."""
    site = Site(tmp_path)
    yield site
    site.close()
