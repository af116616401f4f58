"""Server processes of every kind, in both encodings, and a canary that no pickle may touch."""

import pytest

from support.speaking import Target


@pytest.fixture
def start():
    """A function that starts a server of a kind; at the end the canary is as it was."""
    targets = []

    def start(kind='file', protocol='Z5', **options):
        targets.append(Target(kind, protocol, **options))
        return targets[-1]

    try:
        yield start
        for target in targets:
            assert target.canary_lives()
    finally:
        for target in targets:
            target.close()
