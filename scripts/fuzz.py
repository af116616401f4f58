#!/usr/bin/env python3
"""Attack servers with bad input, and check that nothing but the attackers suffers.

    python scripts/fuzz.py --minutes 10             every kind of storage in both encodings
    python scripts/fuzz.py --only file-Z5 --seed 7  one of them
    python scripts/fuzz.py --only file-Z5 --replay FILE

Each server is a process of its own. Attackers send mutated recordings of real sessions and
well-formed messages that make no sense, while a good client works. It must not wait for long, and
afterwards the server has to be as it was before. The exit status is 0 when all holds and 1 when
something does not: then the directory that is named holds the server's files and, in `sent`, what
the last connections sent. docs/developing/testing.rst tells more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzzlib import checks, good
from fuzzlib.attack import Attack, deliver
from fuzzlib.sessions import record
from fuzzlib.targets import KINDS, Reading, Target
from fuzzlib.wire import ENCODINGS, Wire

NAMES = [f'{kind}-{encoding}' for kind in KINDS for encoding in ENCODINGS]


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    add = parser.add_argument
    add(
        '--minutes',
        type=float,
        default=1.0,
        metavar='M',
        help='how long to attack, all servers together; default: %(default)s',
    )
    add('--seed', default='1', help='what all choices derive from; default: %(default)s')
    add(
        '--only',
        choices=NAMES,
        action='append',
        metavar='NAME',
        help=f'one of {", ".join(NAMES)}; may be repeated',
    )
    add(
        '--threads',
        type=int,
        default=3,
        metavar='N',
        help='attackers at a time; default: %(default)s',
    )
    add(
        '--latency',
        type=float,
        default=checks.WORST_LATENCY,
        metavar='S',
        help='seconds that the good client may wait; default: %(default)s',
    )
    add(
        '--keep',
        metavar='DIR',
        help='where the directories of failed servers go; default: one in the temporary directory',
    )
    add(
        '--replay',
        metavar='FILE',
        help='send this file of a `sent` directory again, and nothing else',
    )
    add('--json', metavar='FILE', help='write the figures')
    return parser.parse_args(argv)


class Watch:
    """Reads a target's meters all the while."""

    def __init__(self, target: Target) -> None:
        self._target, self._end = target, threading.Event()
        self.readings: list[Reading] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.2):
            try:
                self.readings.append(self._target.read())
            except OSError:
                return  # it has ended, which others tell

    def stop(self) -> None:
        """Read no more."""
        self._end.set()
        self._thread.join()


def look_around(target: Target) -> tuple[list[bytes], list[bytes]]:
    """Return some oids and tids that there are, and some that there are not."""
    wire = Wire(target.path, target.encoding)
    last = wire.call('register', '1', True)
    wire.close()
    oids = [number.to_bytes(8, 'big') for number in (*range(25), 2**40, 2**64 - 1)]
    return oids, [
        last,
        last,
        b'\0' * 8,
        b'\x7f' + b'\xff' * 7,
        (int.from_bytes(last, 'big') - 1).to_bytes(8, 'big'),
    ]


def stored(target: Target) -> int:
    """Return the bytes that its storages take, as the server tells."""
    total = 0
    for name in '1', '2':
        wire = Wire(target.path, target.encoding)
        wire.call('register', name, True)
        total += wire.call('get_info')['size']
        wire.close()
    return total


def wait_for_quiet(target: Target, files: int) -> Reading:
    """Return the reading when the server has noticed that all clients are gone, or after ten
    seconds.
    """
    deadline = time.monotonic() + 10
    while True:
        reading = target.read()
        if time.monotonic() > deadline or (reading.files <= files and not target.leftovers()):
            return reading
        time.sleep(0.1)


def attack(
    target: Target, resting: Target, options: argparse.Namespace, seconds: float
) -> tuple[list[str], dict[str, Any]]:
    """Attack one server, beside another one that is not; return what does not hold, and figures."""
    target.start()
    resting.start()
    sessions = record(target.path, target.directory)
    known, size = look_around(target), stored(target)
    before = target.read()
    attacker, watch = Attack(target, sessions, known, options.seed), Watch(target)
    client = subprocess.Popen(
        [sys.executable, good.__file__, target.path, resting.path, target.encoding, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        attacker.run(time.monotonic() + seconds, options.threads)
        output = client.communicate(timeout=checks.WORST_IN_QUEUE + 60)[0]
    except subprocess.TimeoutExpired:
        output = b'it did not end'
    finally:
        watch.stop()
        client.kill()
        client.wait()
        _write_sent(target, attacker)
    if not target.is_alive:
        status = target.process.returncode if target.process else None
        return [f'the server ended with status {status}: {target.said()[-500:]}'], dict(
            attacker.counts
        )
    try:
        figures = json.loads(output)
    except ValueError:
        return [f'the good client ended with: {output.decode(errors="replace")[-1000:]}'], dict(
            attacker.counts
        )
    after = wait_for_quiet(target, before.files)
    wrong = checks.of_good_client(figures, checks.Bounds(options.latency))
    try:
        growth = stored(target) - size
    except OSError as error:
        return [*wrong, f'the server does not answer: {error}: {target.where()}'], dict(
            attacker.counts
        )
    wrong += checks.of_resources(target, before, watch.readings, after, growth)
    wrong += start_again(target)
    return wrong, {**attacker.counts, **figures, **_meters(before, watch.readings, after)}


def _meters(before: Reading, readings: list[Reading], after: Reading) -> dict[str, Any]:
    return {
        'resident': [
            before.resident,
            max(reading.resident for reading in [*readings, after]),
            after.resident,
        ],
        'files': [before.files, after.files],
        'log': after.log - before.log,
        'seconds': round(after.when - before.when, 1),
    }


def start_again(target: Target) -> list[str]:
    """Stop the server and see that another one serves what it has left."""
    status = target.stop()
    if status != 0:
        return [f'the server ended with status {status} after SIGTERM']
    try:
        target.start()
        wire = Wire(target.path, target.encoding)
        wire.call('register', '1', False)
        good.commit(wire, 1, [wire.call('new_oids', 1)[0]], {}, b'\x80\x03N.\x80\x03N.')
        wire.close()
    except Exception as error:  # anything: the attack has left a database that cannot be used
        return [f'after the attack: {type(error).__name__}: {error}']
    status = target.stop()
    wrong = checks.of_files(target)
    return wrong + (
        [] if status == 0 else [f'started again, it ended with status {status} after SIGTERM']
    )


def _write_sent(target: Target, attacker: Attack) -> None:
    directory = target.directory / 'sent'
    directory.mkdir()
    for number, stream in enumerate(attacker.last):
        (directory / f'{number:03}').write_bytes(stream)


def replay(target: Target, file: str) -> tuple[list[str], dict[str, Any]]:
    """Send one stream to a new server that holds a recorded session's database."""
    target.start()
    record(target.path, target.directory)
    deliver(target.path, Path(file).read_bytes())
    time.sleep(0.5)
    wrong = [] if target.is_alive else [f'the server ended: {target.said()[-500:]}']
    return wrong + checks.of_files(target), {}


def run_one(
    name: str, options: argparse.Namespace, seconds: float
) -> tuple[list[str], dict[str, Any]]:
    """Attack the server of this name; keep its directory when something does not hold."""
    kind, _, encoding = name.partition('-')
    directory = Path(tempfile.mkdtemp(prefix='zeo-fuzz-'))
    target, resting = Target(kind, encoding, directory), Target(kind, encoding, directory / 'rest')
    wrong = ['it was interrupted']
    try:
        wrong, figures = (
            replay(target, options.replay)
            if options.replay
            else attack(target, resting, options, seconds)
        )
        return wrong, figures
    finally:
        target.kill()
        resting.kill()
        if wrong:
            kept = Path(options.keep or tempfile.gettempdir()) / f'fuzz-failed-{name}-{os.getpid()}'
            shutil.move(directory, kept)
            print(f'{name}: its files are in {kept}')
        else:
            shutil.rmtree(directory)


def show(name: str, wrong: list[str], figures: dict[str, Any]) -> None:
    """Print the result of one server."""
    times = figures.get('times', {})
    worst, at_rest = (
        max(
            (
                taken['worst']
                for call, taken in times.items()
                if call != 'commit behind the attack' and call.endswith(good.AT_REST) == rest
            ),
            default=0.0,
        )
        for rest in (False, True)
    )
    resident = '-'.join(f'{size / 2**20:.0f}' for size in figures.get('resident', []))
    print(
        f'{name:10} {"FAILED" if wrong else "ok":6} connections {figures.get("connections", 0)}, '
        f'wrong messages {figures.get("wrong messages", 0)}, mutated sessions '
        f'{figures.get("mutated sessions", 0)}, '
        f'worst wait {worst:.3f} s (at rest {at_rest:.3f} s), '
        f'MB before-peak-after {resident}, log {figures.get("log", 0) / 1e3:.0f} kB',
        flush=True,
    )
    for text in wrong:
        print(f'  {text}', flush=True)


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    options = parse(argv)
    names = options.only or NAMES
    results = {}
    for name in names:
        results[name] = run_one(name, options, options.minutes * 60 / len(names))
        show(name, *results[name])
    if options.json:
        Path(options.json).write_text(
            json.dumps(
                {name: {'wrong': wrong, **figures} for name, (wrong, figures) in results.items()},
                indent=1,
            )
        )
    return int(any(wrong for wrong, _ in results.values()))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
