"""The fuzz script: what it sends, and that it notices what it looks for."""

from __future__ import annotations

import pickle
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'scripts'))

import fuzz  # noqa: E402
from fuzzlib import checks  # noqa: E402
from fuzzlib.mutations import mutated  # noqa: E402
from fuzzlib.sessions import record  # noqa: E402
from fuzzlib.targets import Reading, Target  # noqa: E402
from fuzzlib.wire import split_frames  # noqa: E402
from fuzzlib.wrong import ARGUMENTS, Known, Messages, payloads  # noqa: E402

from ZEO.wire.calls import OF_CLIENT  # noqa: E402
from ZEO.wire.messages import codec  # noqa: E402

SESSION = [b'Z5', *(b'frame %d' % number for number in range(50))]


@pytest.fixture
def target(tmp_path):
    return Target('mapping', 'Z5', tmp_path)


def messages(seed: str, count: int) -> list:
    known = Known([b'\0' * 8], [b'\1' * 8], payloads('/nowhere/canary'))
    source = Messages(random.Random(seed), known, 'Z5')
    return [message for _ in range(count) for message in source.take()]


def test_the_arguments_of_every_call_are_known():
    assert set(OF_CLIENT) - set(ARGUMENTS) <= {
        'get_info',
        'server_status',
        'ping',
        'lastTransaction',
    }


def test_every_call_is_sent():
    assert {name for _, _, name, _ in messages('1', 5000)} >= set(OF_CLIENT)


def test_a_seed_makes_the_same_input_again():
    assert (
        pickle.dumps(messages('7', 200))
        == pickle.dumps(messages('7', 200))
        != pickle.dumps(messages('8', 200))
    )
    assert mutated(random.Random(7), [SESSION]) == mutated(random.Random(7), [SESSION])


def test_a_mutated_session_differs_from_the_session():
    plain = b''.join(SESSION)
    assert all(
        b''.join(split_frames(mutated(random.Random(seed), [SESSION]))) != plain
        for seed in range(50)
    )


def test_a_recorded_session_has_blobs_and_transactions_and_iteration(tmp_path):
    target = Target('file', 'Z5', tmp_path)
    target.start()
    try:
        sessions = record(target.path, tmp_path)
    finally:
        assert target.stop() == 0
    decode = codec(b'Z5').decode
    names = {decode(frame)[2] for frames in sessions for frame in frames[1:]}
    assert names >= set(
        """register get_info tpc_begin storea vote tpc_finish tpc_abort storeBlobStart
        storeBlobChunk storeBlobEnd sendBlob undoa undoLog undoInfo history loadBefore
        load_many loadSerial getTid restorea deleteObject iterator_start iterator_batch
        pack new_oids checkCurrentSerialInTransaction ping server_status""".split()
    )


def test_temporary_files_are_noticed(target):
    (target.temporary / 'left').touch()
    assert '1 temporary files are left, such as tmp/left' in checks.of_files(target)


def test_a_canary_and_a_traceback_are_noticed(target):
    target.canary.touch()
    target.log.write_text('Traceback (most recent call last):\n')
    assert len(checks.of_files(target)) == 2


def test_a_server_whose_socket_is_there_does_not_listen_yet(target):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(target.path)
        assert not target.listens()
        listener.listen()
        assert target.listens()


def test_memory_files_and_log_lines_that_stay_are_noticed(target):
    now = time.monotonic()
    before, after = Reading(now, 0, 10, 0), Reading(now, 100 * 2**20, 30, 10**7)
    peak = Reading(now, 2**30, 10, 0)
    assert len(checks.of_resources(target, before, [peak], after, 0)) == 4
    assert checks.of_resources(target, before, [before], before, 0) == []


def test_a_good_client_that_waited_or_failed_is_noticed():
    taken = {'count': 1, 'mean': 1.0, 'worst': 1.0}
    figures = {'times': {'load': taken, 'commit behind the attack': taken}, 'failed': ['a reason']}
    assert len(checks.of_good_client(figures, checks.Bounds())) == 2
    figures['times']['load at rest'] = taken  # the machine is what is slow
    assert len(checks.of_good_client(figures, checks.Bounds())) == 1


@pytest.mark.timeout(300)
def test_a_short_attack_on_every_server_harms_nobody_else(tmp_path):
    """A second of what the script does for minutes, two servers at a time; how long the good client
    may wait is a bound against hangs here.
    """
    command = [sys.executable, str(ROOT / 'scripts' / 'fuzz.py'), '--minutes', '0.05']
    command += ['--latency', '20', '--keep', str(tmp_path)]
    running = [
        subprocess.Popen(
            [*command, *(f'--only={name}' for name in names)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for names in (fuzz.NAMES[::2], fuzz.NAMES[1::2])
    ]
    said = [one.communicate(timeout=280)[0] for one in running]
    if any(one.returncode for one in running):
        pytest.fail(''.join(said))  # an assertion would cut it short
    assert ''.join(said).count(' ok ') == len(fuzz.NAMES) == 6
