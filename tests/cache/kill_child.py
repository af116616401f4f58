"""Run by test_kill: applies a stream of transactions to a cache file until it is killed.

Arguments: path, size, seed, number of the first transaction.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / 'support'))

from cache_stream import Stream

from ZEO.cache import ClientCache


class Silent:
    """A cache that does nothing: takes the stream to where the killed process was."""

    def __getattr__(self, name):
        return lambda *args: None


def main(path: str, size: int, seed: int, skip: int) -> None:
    """Begin at transaction `skip` of the stream; tell the number of each one before it begins."""
    stream = Stream(seed)
    for _ in range(skip):
        stream.transaction(Silent())
    cache = ClientCache(path, size)
    last = cache.getLastTid()
    for oid, tids in stream.history.items():  # the verification on connect
        if last is None or any(tid > last for tid in tids):
            cache.invalidate(oid, None)
    print('ready', flush=True)
    while True:
        stream.transaction(cache)


if __name__ == '__main__':
    main(sys.argv[1], *map(int, sys.argv[2:]))
