#!/usr/bin/env python
"""Hit rates of the installed ZEO's client cache on made-up accesses, at five sizes.

Enters: the ZEO that this Python imports, this one or another release: only the public ClientCache
is used. Leaves: a table. Fails: as that cache does. Each record takes 1000 bytes of the file,
headers included.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from cache_lab.workloads import WORKLOADS
from ZODB.utils import p64

from ZEO.cache import ClientCache

OBJECTS, LOADS, RECORD, HEADER = 20_000, 200_000, 1000, 43
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)


def hit_rate(oids, size):
    """Return the share of the oids' loads that a cache of `size` bytes answers."""
    data, tid, hits = b'x' * (RECORD - HEADER), p64(1), 0
    with tempfile.TemporaryDirectory() as directory:
        cache = ClientCache(str(Path(directory) / 'cache.zec'), size)
        for oid in map(p64, oids):
            if cache.load(oid) is None:
                cache.store(oid, tid, None, data)
            else:
                hits += 1
        cache.close()
    return hits / len(oids)


def main():
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.partition('\n')[0]).parse_args()
    print('cache / database'.ljust(18) + ''.join(f'{share:8.0%}' for share in SHARES))
    for name, make in WORKLOADS.items():
        oids = make(LOADS, OBJECTS, random.Random(1))
        rates = [hit_rate(oids, int(OBJECTS * RECORD * share)) for share in SHARES]
        print(name.ljust(18) + ''.join(f'{100 * rate:8.1f}' for rate in rates), flush=True)


if __name__ == '__main__':
    sys.exit(main())
