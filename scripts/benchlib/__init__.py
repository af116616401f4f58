"""What scripts/bench.py is made of.

Two sides.  The *driver* (catalogue, environments, runner, report, plot) runs in the Python that
started bench.py.  The *workloads* (worker and what it imports) run as one process per measurement
in the Python of the implementation under measurement, and use only what both have in public:
ClientStorage, ZODB.DB, ``python -m ZEO.runzeo -C FILE`` and the wire protocol.
"""
