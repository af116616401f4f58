"""ZODB's storage tests across the two: our client on ZEO 6's server, and its client on ours."""

import os
import subprocess

import pytest

from support import kinds, sets
from support.sides import OURS, PEER, TESTS


class TestOursOnPeer(sets.Everything):
    """Our client, and a server of ZEO 6."""

    kind = kinds.FILE_TRANSFERRED_BLOBS
    side = PEER
    use_extension_bytes = False  # it sends extensions as dicts

    # Sixty-four clients that come and go are slow there; ours run it on a server of ours.
    test_race_external_invalidate_vs_disconnect = None


@pytest.mark.timeout(240)
@pytest.mark.parametrize('case', ['Blobs', 'Mapping'])
def test_peer_on_ours(case):
    """A client of ZEO 6 in its own environment, and a server of ours."""
    environ = PEER.environ(
        ZEO_TEST_SERVER=OURS.python, ZEO_TEST_SERVER_PATH=os.pathsep.join(OURS.path)
    )
    command = [PEER.python, '-m', 'unittest', f'support.foreign.{case}']
    done = subprocess.run(
        command, env=environ, cwd=TESTS, capture_output=True, text=True, timeout=230
    )
    if 'zope.testing' in done.stderr and 'ModuleNotFoundError' in done.stderr:
        pytest.skip("ZODB's tests need zope.testing in the environment of ZEO_PEER_PYTHON")
    assert not done.returncode, done.stderr
    assert 'OK' in done.stderr
