"""Puts the tests' helpers on the path, has Hypothesis judge what the code does, not how fast the
machine is, and lets Ctrl-C work in the processes that tests start.
"""

import signal
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

#: Fixtures of servers and clients; a conftest nearer to a test may define some of its own.
pytest_plugins = ['support.fixtures']

settings.register_profile('zeo', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('zeo')

# A shell has its background jobs ignore SIGINT, and nohup SIGHUP; child processes inherit that: a
# server that was started so is right not to stop at one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
