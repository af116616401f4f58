"""Puts the tests' helpers on the path, has Hypothesis judge what the code does, not how fast the
machine is, lets Ctrl-C work in the processes that tests start, finds tests that slow down those
after them or leave threads to them, and says what all threads were at when a test has failed.
"""

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))
ROOT = Path(__file__).parents[1]

from support.processes import wait_until  # noqa: E402

#: Fixtures of servers and clients, of which a conftest nearer to a test may define some of its own;
#: and those that fail a test which leaves a thread of ZEO behind.
pytest_plugins = ['support.fixtures', 'support.left_threads']

settings.register_profile('zeo', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('zeo')

# A shell has its background jobs ignore SIGINT, and nohup SIGHUP; child processes inherit that: a
# server that was started so is right not to stop at one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


#: Files with tests that take seconds each: at the end of a run one process would be busy with them
#: while the others have nothing left to do.
LONG = """
    tests/scripts/test_fuzz.py tests/storages/test_basics.py tests/interop/test_storages.py
    tests/test_docs.py tests/test_operators_story.py tests/stress/test_stress.py
    tests/sql/test_fleet_rounds.py tests/sql/test_scaling_page.py tests/sql/test_failures.py
    tests/sql/test_fleet.py tests/serving/test_model.py tests/cache/test_model.py
    tests/test_reliability_page.py tests/test_zeoctl.py tests/scripts/test_structure.py
    tests/simulation/test_histories.py tests/simulation/test_plans.py
    tests/replica/test_trouble.py tests/replica/test_rounds.py tests/storages/test_blobs.py
    tests/interop/test_whole_api.py
""".split()


def pytest_collection_modifyitems(items):
    """Have the files first that take long, for processes that share the files."""
    places = {ROOT / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


#: Seconds for which a thread may compute while no server has workers at work.
USUAL_INTERVAL = sys.getswitchinterval()


@pytest.fixture(autouse=sys.platform == 'linux')
def _as_fast_as_before():
    """A test leaves the thread that runs all tests its priority, its processors, and the time for
    which a thread may compute.
    """
    before = _share()
    # workers of a module's server may have been at work then, and have ended since
    intervals = {sys.getswitchinterval(), USUAL_INTERVAL}
    yield
    # others are about to end
    wait_until(lambda: _share() == before and sys.getswitchinterval() in intervals)


def _share():
    return os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Say what all threads are at when a test has failed: what hangs may never be seen again."""
    report = (yield).get_result()
    if report.failed and report.when == 'call':
        report.sections.append(('Threads', '\n'.join(_threads())))


def _threads():
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            yield f'{names.get(ident, "?")}:'
            yield ''.join(traceback.format_stack(frame, -8)).rstrip()
