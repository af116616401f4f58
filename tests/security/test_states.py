"""Conflicts in BTrees with states that no BTree has: BTrees are written in C, and must not take the
server down with them.
"""

import subprocess
import sys

import pytest

from support.sides import OURS

CHILD = """
import random, sys
import zodbpickle.pickle, io
from ZODB.MappingStorage import MappingStorage
from ZODB.ConflictResolution import ConflictResolvingStorage
from ZODB.POSException import ConflictError
from ZEO.serving.allowed import OF_ZODB
from ZEO.serving.resolve import ConflictPolicy

class Storage(MappingStorage, ConflictResolvingStorage):
    records = {}
    def loadSerial(self, oid, serial):
        return self.records[serial]

storage = Storage()
ConflictPolicy().apply_to(storage)
rand = random.Random(int(sys.argv[1]))

def atom():
    return rand.choice([
        None, True, 0, 1, 2, 5, -1, 2**31, 2**40, 2**63, 2**70, 1.5,
        '', 'a', 'b', b'', b'ab', b'abcdefgh', [], {}, ()])

def value(depth):
    if depth <= 0 or rand.random() < .3:
        return atom()
    kind = rand.choice((tuple, tuple, tuple, list))
    return kind(value(depth - 1) for _ in range(rand.randrange(5)))

def items(good):
    count = rand.randrange(6)
    keys = sorted(rand.sample(range(50), count))
    flat = []
    for key in keys:
        flat.append(key if good or rand.random() < .9 else atom())
        flat.append(atom() if rand.random() < .5 else rand.randrange(9))
    return tuple(flat)

def state():
    choice = rand.random()
    if choice < .2:
        return value(5)
    bucket = (items(choice < .8),)
    if rand.random() < .3:
        bucket += (rand.choice([Ref(b'abcdefgh'), atom()]),)
    if rand.random() < .5:
        return bucket
    return ((bucket,),) if rand.random() < .7 else ((bucket, 5, bucket), bucket)

class Ref:
    def __init__(self, oid):
        self.oid = oid

def record(module, name):
    out = io.BytesIO()
    pickler = zodbpickle.pickle.Pickler(out, 3)
    pickler.persistent_id = lambda value: value.oid if type(value) is Ref else None
    pickler.dump(state())
    return ('\\x80\\x03c%s\\n%s\\nq\\0.' % (module, name)).encode('latin-1') + out.getvalue()

resolved = 0
names = sorted(OF_ZODB)
for number in range(int(sys.argv[2])):
    names_ = rand.choice(names)
    storage.records = {b'old': record(*names_), b'committed': record(*names_)}
    try:
        storage.tryToResolveConflict(b'\\0' * 8, b'committed', b'old', record(*names_))
        resolved += 1
    except ConflictError:
        pass
print(resolved)
"""


@pytest.mark.parametrize('seed', range(2))
def test_no_state_takes_the_process_down(seed):
    run = [sys.executable, '-c', CHILD, str(seed), '10000']
    done = subprocess.run(run, env=OURS.environ(), capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0
